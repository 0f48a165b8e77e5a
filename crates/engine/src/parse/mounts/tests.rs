use super::*;

fn short(text: &str) -> MountRequest {
    volume(text, Path::new("/home/me")).unwrap()
}

#[test]
fn tells_paths_from_volumes() {
    let bind = |source: &str| MountKind::Bind {
        source: source.into(),
        propagation: String::new(),
        create_source: true,
        non_recursive: false,
    };
    let named = |name: &str, anonymous| {
        MountKind::Volume(VolumeMount {
            name: name.into(),
            anonymous,
            ..VolumeMount::default()
        })
    };
    assert_eq!(short("/a:/b").kind, bind("/a"));
    assert_eq!(short("./src:/b").kind, bind("/home/me/src"));
    assert_eq!(short("../src:/b").kind, bind("/home/src"));
    assert_eq!(short("data:/b").kind, named("data", false));
    assert_eq!(short("/b").kind, named("", true));
    assert_eq!(short("/a/../c//d/:/b/./x/").target, Path::new("/b/x"));
    assert!(short("data:/b:ro").read_only && !short("data:/b:rw").read_only);
    assert!(matches!(
        short("/a:/b:ro,rshared").kind,
        MountKind::Bind { propagation, .. } if propagation == "rshared"
    ));
}

#[test]
fn refuses_wrong_volumes() {
    for bad in [
        "",
        "a:b",
        "/a:b",
        "a:/b:c:d",
        "/a:/",
        ":/b",
        "a/b:/c",
        "-a:/c",
        "a:/b:what",
        "a:/",
        "data:/b:shared",
        "/a:/b:nocopy",
        "~/x:/b",
        "relative",
    ] {
        assert!(volume(bad, Path::new("/")).is_err(), "{bad}");
    }
}

#[test]
fn reads_the_long_form() {
    let request = mount("type=bind,source=/a,target=/b,readonly,bind-propagation=rslave").unwrap();
    assert!(request.read_only);
    assert!(matches!(
        request.kind,
        MountKind::Bind { create_source: false, propagation, .. } if propagation == "rslave"
    ));
    let request = mount("src=data,dst=/b,volume-nocopy").unwrap();
    assert!(matches!(
        request.kind,
        MountKind::Volume(VolumeMount { no_copy: true, .. })
    ));
    let request = mount("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=700").unwrap();
    assert_eq!(
        request.kind,
        MountKind::Tmpfs {
            size: Some(64 << 20),
            mode: Some(0o700),
            options: Vec::new()
        }
    );
    let request = mount(
        "type=volume,source=data,target=/b,volume-subpath=a/./b,\"volume-opt=o=uid=1,gid=2\",volume-label=x=y",
    )
    .unwrap();
    let MountKind::Volume(volume) = request.kind else {
        panic!("not a volume");
    };
    assert_eq!(volume.subpath, Path::new("a/b"));
    assert_eq!(volume.options["o"], "uid=1,gid=2");
    assert_eq!(volume.labels["x"], "y");
    let request = mount("type=image,source=debian:12,target=/b,image-subpath=usr").unwrap();
    assert!(request.read_only);
    let request = mount("type=bind,src=/a,dst=/b,ro,bind-recursive=writable,idmap=5@6").unwrap();
    assert!(request.writable_below);
    let ids = request.id_map.unwrap();
    assert_eq!((ids.uid, ids.gid), (Some(5), Some(6)));
    for bad in [
        "type=volume,source=data,target=/b,volume-subpath=../x",
        "type=volume,source=data,target=/b,volume-subpath=/x",
        "type=volume,source=data,target=/b,bind-propagation=shared",
        "type=bind,source=/a,target=/b,bind-recursive=readonly",
        "type=tmpfs,target=/b,idmap",
        "type=image,target=/b",
        "type=volume,target=/b,volume-driver=other",
        "\"type=volume",
        "\"type=volume\"x,target=/b",
        "",
        "type=bind",
        "type=bind,target=/b",
        "type=bind,source=a,target=/b",
        "type=tmpfs,source=/a,target=/b",
        "type=what,target=/b",
        "target=b",
        "target=/b,x=1",
        "target=/b,readonly=maybe",
        "type=tmpfs,target=/t,tmpfs-mode=9",
        "type=volume,source=/a,target=/b",
    ] {
        assert!(mount(bad).is_err(), "{bad}");
    }
}

#[test]
fn reads_tmpfs() {
    let request = tmpfs("/run:rw,noexec,nosuid,size=65536k,mode=1770,uid=3").unwrap();
    assert_eq!(
        request.kind,
        MountKind::Tmpfs {
            size: Some(64 << 20),
            mode: Some(0o1770),
            options: vec!["noexec".into(), "nosuid".into(), "uid=3".into()]
        }
    );
    assert!(tmpfs("/run").is_ok());
    assert!(tmpfs("run").is_err() && tmpfs("/run:lowerdir=/").is_err());
}
