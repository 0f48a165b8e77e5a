//! The tags of a repository.

use serde::Deserialize;
use spec::Reference;
use sys::{Error, ErrorKind, Result};
use ureq::http::{HeaderMap, Method, StatusCode, Uri};

use crate::Client;
use crate::client::{pull_scope, repository_at};
use crate::session::{Ask, Target, read_limited};
use crate::url;

const LARGEST_PAGE: u64 = 4 * 1024 * 1024;
const MOST_PAGES: usize = 200;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// The tags in the repository of `reference`, as the registry orders them.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>> {
        let endpoint = self.origin(reference)?;
        let repository = repository_at(&endpoint, reference);
        let mut tags = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let first = format!("{repository}/tags/list");
            let path = next.as_deref().unwrap_or(&first);
            let mut response = self.session.ask(&Ask {
                endpoint: &endpoint,
                method: Method::GET,
                target: Target::Path(path),
                headers: Vec::new(),
                scopes: &pull_scope(&repository),
            })?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => {
                    let words = format!("no such repository: {}", reference.familiar_name());
                    return Err(Error::new(ErrorKind::NotFound, words));
                }
                _ => return Err(self.session.refused(&endpoint, response)),
            }
            let text = read_limited(&mut response, LARGEST_PAGE, "the list of tags")?;
            let page: Page = serde_json::from_slice(&text)
                .map_err(|_| Error::new(ErrorKind::Corrupt, "the list of tags is malformed"))?;
            tags.extend(page.tags.unwrap_or_default());
            match next_page(response.headers(), &first) {
                Some(path) => next = Some(path),
                None => break,
            }
        }
        Ok(tags)
    }
}

/// The query of `Link: </v2/…?last=x&n=y>; rel="next"`, put on our own path.
fn next_page(headers: &HeaderMap, first: &str) -> Option<String> {
    let link = headers.get("link")?.to_str().ok()?;
    let (target, _) = link.trim().strip_prefix('<')?.split_once('>')?;
    let here: Uri = format!("http://registry/v2/{first}").parse().ok()?;
    let target = url::join(&here, target)?;
    Some(format!("{first}?{}", target.query()?))
}
