//! `wharf images`.

use engine::images::ImageSummary;
use serde_json::{Value, json};
use spec::Reference;
use state::Timestamp;
use sys::{Error, ErrorKind, Result};

use super::ps::created_at;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::list::ListFormat;
use crate::output::{self, human};

const NONE: &str = "<none>";
const HEADERS: [(&str, &str); 11] = [
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    if given.on("tree") {
        return super::layers::tree(call);
    }
    let filters: Vec<Filter> = given
        .texts("filter")
        .into_iter()
        .map(str::parse)
        .chain(
            given
                .text("NAME")
                .map(|name| Ok(Filter::Reference(name.to_owned()))),
        )
        .collect::<Result<_>>()?;
    let all = call.engine()?.images().list()?;
    call.timings.done("list");
    let truncate = !given.on("no-trunc");
    let digests = given.on("digests");
    let bounds = Bounds::of(&filters, &all)?;
    let lines: Vec<Line<'_>> = all
        .iter()
        .filter(|image| bounds.include(image) && filters.iter().all(|filter| filter.takes(image)))
        .flat_map(|image| lines(image, digests))
        .filter(|line| filters.iter().all(|filter| filter.takes_name(line)))
        .collect();
    let format = given.text("format");
    if given.on("quiet") && format.is_none() {
        let mut text = String::new();
        for line in &lines {
            text.push_str(&id(line.image, truncate));
            text.push('\n');
        }
        output::print(&text)?;
        return Ok(DONE);
    }
    let columns = if digests {
        "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
    } else {
        "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
    };
    let format = ListFormat::parse(format, columns)?;
    let now = Timestamp::now();
    let rows: Vec<Value> = lines.iter().map(|line| row(line, now, truncate)).collect();
    output::print(&format.render(&rows, &HEADERS)?)?;
    Ok(DONE)
}

/// One name of an image.
struct Line<'a> {
    image: &'a ImageSummary,
    repository: Option<String>,
    tag: Option<String>,
    digest: Option<String>,
}

/// As Docker: a line per tag; an image without tags has one with its
/// repository's digest, or with no name at all.
fn lines(image: &ImageSummary, digests: bool) -> Vec<Line<'_>> {
    let digest_of = |repository: &str| {
        image
            .digests
            .iter()
            .find(|one| one.familiar_name() == repository)
            .and_then(Reference::digest)
            .map(|digest| digest.to_string())
    };
    let mut lines: Vec<Line<'_>> = image
        .tags
        .iter()
        .map(|name| {
            let repository = name.familiar_name();
            Line {
                image,
                digest: digest_of(&repository).filter(|_| digests),
                tag: name.tag().map(str::to_owned),
                repository: Some(repository),
            }
        })
        .collect();
    if lines.is_empty() {
        let name = image.digests.first();
        lines.push(Line {
            image,
            repository: name.map(Reference::familiar_name),
            tag: None,
            digest: name
                .and_then(Reference::digest)
                .map(|digest| digest.to_string()),
        });
    }
    lines
}

fn row(line: &Line<'_>, now: Timestamp, truncate: bool) -> Value {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.to_owned());
    let created: Option<Timestamp> = line
        .image
        .created
        .as_deref()
        .and_then(|text| text.parse().ok());
    let size = human::size(line.image.size);
    json!({
        "Containers": line.image.containers.to_string(),
        "CreatedAt": created.map_or_else(|| "N/A".to_owned(), created_at),
        "CreatedSince": created
            .map_or_else(|| "N/A".to_owned(), |created| human::ago(now.since(created))),
        "Digest": or_none(&line.digest),
        "ID": id(line.image, truncate),
        "Repository": or_none(&line.repository),
        "SharedSize": "N/A",
        "Size": size,
        "Tag": or_none(&line.tag),
        "UniqueSize": "N/A",
        "VirtualSize": size,
    })
}

fn id(image: &ImageSummary, truncate: bool) -> String {
    let id = image.id.to_string();
    if !truncate {
        return id;
    }
    let hex = id.split_once(':').map_or(id.as_str(), |(_, hex)| hex);
    hex.chars().take(12).collect()
}

/// One `--filter`, or the name after the verb.
#[derive(Debug)]
enum Filter {
    Dangling(bool),
    Label {
        key: String,
        value: Option<String>,
    },
    Before(String),
    Since(String),
    /// Made before this time.
    Until(Timestamp),
    /// A pattern: `name`, `name:tag`, `*/na?e:v*`.
    Reference(String),
}

impl std::str::FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("invalid filter {text:?}: {why}"),
            )
        };
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| wrong("write it as key=value"))?;
        Ok(match (key, value) {
            ("dangling", "true" | "1") => Self::Dangling(true),
            ("dangling", "false" | "0") => Self::Dangling(false),
            ("dangling", _) => return Err(wrong("dangling is true or false")),
            ("label", value) => match value.split_once('=') {
                Some((key, value)) => Self::Label {
                    key: key.to_owned(),
                    value: Some(value.to_owned()),
                },
                None => Self::Label {
                    key: value.to_owned(),
                    value: None,
                },
            },
            ("before", image) => Self::Before(image.to_owned()),
            ("since", image) => Self::Since(image.to_owned()),
            ("until", time) => Self::Until(engine::parse::time(time, Timestamp::now())?),
            ("reference", pattern) => Self::Reference(pattern.to_owned()),
            _ => {
                return Err(wrong(
                    "use dangling, label, before, since, until or reference",
                ));
            }
        })
    }
}

impl Filter {
    fn takes(&self, image: &ImageSummary) -> bool {
        match self {
            Self::Dangling(wanted) => image.tags.is_empty() == *wanted,
            Self::Label { key, value } => image
                .labels
                .get(key)
                .is_some_and(|found| value.as_ref().is_none_or(|value| value == found)),
            Self::Until(time) => created(image).is_some_and(|created| created < *time),
            _ => true,
        }
    }

    fn takes_name(&self, line: &Line<'_>) -> bool {
        let Self::Reference(pattern) = self else {
            return true;
        };
        let Some(repository) = &line.repository else {
            return false;
        };
        let last = pattern.rsplit('/').next().unwrap_or(pattern);
        let (name, tag) = match last.rsplit_once(':') {
            Some((_, tag)) => (&pattern[..pattern.len() - tag.len() - 1], Some(tag)),
            None => (pattern.as_str(), None),
        };
        // `docker.io/library/debian` is `debian`.
        let familiar = name.parse::<Reference>().map(|name| name.familiar_name());
        let name_fits =
            matches(name, repository) || familiar.is_ok_and(|familiar| familiar == *repository);
        let tag_fits = tag.is_none_or(|tag| matches(tag, line.tag.as_deref().unwrap_or_default()));
        name_fits && tag_fits
    }
}

fn created(image: &ImageSummary) -> Option<Timestamp> {
    image.created.as_deref()?.parse().ok()
}

/// Times between which an image has to lie.
#[derive(Debug, Default)]
struct Bounds {
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl Bounds {
    fn of(filters: &[Filter], all: &[ImageSummary]) -> Result<Self> {
        let created = |name: &str| -> Result<Timestamp> {
            let image = all.iter().find(|image| {
                let id = image.id.to_string();
                let by_id = id == name
                    || id
                        .split_once(':')
                        .is_some_and(|(_, hex)| name.len() >= 4 && hex.starts_with(name));
                by_id
                    || name
                        .parse::<Reference>()
                        .is_ok_and(|name| image.tags.contains(&name))
            });
            let created = image.and_then(|image| image.created.as_deref()?.parse().ok());
            created.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no such image: {name}")))
        };
        let mut bounds = Self::default();
        for filter in filters {
            match filter {
                Filter::Before(name) => bounds.before = Some(created(name)?),
                Filter::Since(name) => bounds.since = Some(created(name)?),
                _ => {}
            }
        }
        Ok(bounds)
    }

    fn include(&self, image: &ImageSummary) -> bool {
        let created = created(image);
        self.before
            .is_none_or(|before| created.is_some_and(|created| created < before))
            && self
                .since
                .is_none_or(|since| created.is_some_and(|created| created > since))
    }
}

/// A shell pattern with `*` and `?`, neither of which takes a slash.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    // Where to go on if the star has to take one more character.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some('?') if text[t] != '/' => {
                p += 1;
                t += 1;
            }
            Some(letter) if *letter == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) if text[taken] != '/' => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("debian", "debian", true),
            ("deb*", "debian", true),
            ("*", "debian", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("d?b*n", "debian", true),
            ("d?b*x", "debian", false),
            ("", "", true),
            ("", "a", false),
            ("v*", "", false),
            ("*a*b*", "xxaxxbxx", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
