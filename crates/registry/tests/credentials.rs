//! Files and helper programs together, as `login` and a pull use them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use registry::{CredentialFiles, CredentialSource, Credentials};

/// A helper that keeps one secret per server in a directory.
fn install_helper(directory: &Path) {
    let program = directory.join("docker-credential-test");
    let script = format!(
        r#"#!/bin/sh
cd {}/secrets || exit 1
case $1 in
get) read -r server; f=$(echo "$server" | tr -c 'a-z0-9\n' _)
     [ -f "$f" ] || {{ echo "credentials not found in native keychain"; exit 1; }}; cat "$f" ;;
store) cat > new; f=$(sed 's/.*"ServerURL":"\([^"]*\)".*/\1/' new | tr -c 'a-z0-9\n' _); mv new "$f" ;;
erase) read -r server; rm "$(echo "$server" | tr -c 'a-z0-9\n' _)" ;;
esac
"#,
        directory.display()
    );
    std::fs::create_dir(directory.join("secrets")).unwrap();
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn password(user: &str) -> Credentials {
    Credentials::Password {
        user: user.to_owned(),
        password: "secret".to_owned(),
    }
}

#[test]
fn helpers_keep_what_the_file_says_they_keep() {
    let directory = tempfile::tempdir().unwrap();
    install_helper(directory.path());
    let own = directory.path().join("auth.json");
    let docker = directory.path().join("config.json");
    std::fs::write(&own, r#"{"credHelpers": {"kept.example": "test"}}"#).unwrap();
    std::fs::write(
        &docker,
        r#"{"credsStore": "test", "auths": {"docker.io": {}}}"#,
    )
    .unwrap();
    let files = CredentialFiles {
        own: Some(own.clone()),
        docker: Some(docker.clone()),
        helpers: vec![directory.path().to_owned()],
    };
    assert_eq!(files.find("kept.example").unwrap(), None);
    files.store("kept.example", &password("joe")).unwrap();
    files.store("filed.example", &password("ann")).unwrap();
    let text = std::fs::read_to_string(&own).unwrap();
    assert!(
        text.contains("filed.example") && !text.contains("am9l"),
        "{text}"
    );
    assert_eq!(files.find("kept.example").unwrap(), Some(password("joe")));
    assert_eq!(files.find("filed.example").unwrap(), Some(password("ann")));

    // Docker's file sends every registry to its helper.
    let identity = Credentials::Identity {
        user: String::new(),
        token: "t".to_owned(),
    };
    let through_docker = CredentialFiles {
        own: Some(docker),
        docker: None,
        ..files.clone()
    };
    through_docker.store("docker.io", &identity).unwrap();
    assert_eq!(
        CredentialSource::Files(files.clone())
            .find("docker.io")
            .unwrap(),
        Some(identity)
    );
    assert!(through_docker.erase("docker.io").unwrap());
    assert!(!through_docker.erase("docker.io").unwrap());
    assert_eq!(files.find("docker.io").unwrap(), None);

    assert!(files.erase("kept.example").unwrap());
    assert!(files.erase("filed.example").unwrap());
    assert!(!files.erase("filed.example").unwrap());
    assert_eq!(files.find("kept.example").unwrap(), None);
}

#[test]
fn a_helper_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("auth.json");
    std::fs::write(&own, r#"{"credsStore": "surely-not-installed"}"#).unwrap();
    let files = CredentialFiles {
        own: Some(own),
        ..CredentialFiles::default()
    };
    let error = files.find("x.example").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("docker-credential-surely-not-installed"),
        "{error}"
    );
}
