use crate::image::{decode, frame, verify};

/// The seeds of the fuzzer are whole and good, so what it makes of them is
/// almost.
#[test]
fn seeds_are_good() {
    for seed in [
        &include_bytes!("../../../../../fuzz/seeds/checkpoint/process")[..],
        include_bytes!("../../../../../fuzz/seeds/checkpoint/sockets"),
        include_bytes!("../../../../../fuzz/seeds/checkpoint/terminals"),
    ] {
        let checkpoint = decode(&frame(seed)).unwrap();
        verify(&checkpoint, 1000).unwrap();
    }
}

#[test]
fn lies_about_terminals_are_found() {
    let good = include_str!("../../../../../fuzz/seeds/checkpoint/terminals");
    for (truth, lie) in [
        (r#""number":2"#, r#""number":0"#),
        (r#""number":2"#, r#""number":99999999"#),
        (r#""master":"inside""#, r#""master":"gone""#),
        (r#""master":"inside""#, r#""master":"outside""#),
        (r#""settings":"00"#, r#""settings":"0000"#),
        (
            r#"{"terminal":0,"is_master":true"#,
            r#"{"terminal":77,"is_master":true"#,
        ),
        (
            r#"{"terminal":0,"is_master":true"#,
            r#"{"terminal":1,"is_master":true"#,
        ),
        (r#""terminal":0}"#, r#""terminal":7}"#),
        (r#""path":"/dev/tty""#, r#""path":"dev/tty""#),
    ] {
        assert!(good.contains(truth), "{truth}");
        let bad = good.replacen(truth, lie, 1);
        let refused = decode(&frame(bad.as_bytes())).and_then(|it| verify(&it, 1000));
        assert!(refused.is_err(), "{lie} passed");
    }
}

/// What would lead out of the image, or of the memory file system.
#[test]
fn lies_are_found() {
    let good = include_str!("../../../../../fuzz/seeds/checkpoint/sockets");
    for (truth, lie) in [
        (r#""path":"a/b""#, r#""path":"../b""#),
        (r#""path":"a/b""#, r#""path":"/etc/passwd""#),
        (r#""of":"a/b""#, r#""of":"a/../../b""#),
        (r#""size":5000"#, r#""size":4000000000000000000"#),
        (r#""pages":[[0,1,3]]"#, r#""pages":[[0,1,999999]]"#),
        (r#""pages":[[0,1,3]]"#, r#""pages":[[2,1,3]]"#),
        (r#""place":"/tmp""#, r#""place":"tmp""#),
        (r#""backlog":5"#, r#""backlog":5},"waiting":{"at":0"#),
        (r#""connected":{"to":"#, r#""connected":{"to":9"#),
        (r#""waiting":{"at":"#, r#""waiting":{"at":9"#),
        (r#""descriptions":["#, r#""descriptions":[99"#),
        (r#""level":1,"name":2"#, r#""level":1,"name":26"#),
        (r#""scales":[7,7]"#, r#""scales":[7,15]"#),
        (r#""unsent":1"#, r#""unsent":3"#),
        (r#""domain":16"#, r#""domain":17"#),
        (
            r#""protocol":0,"state":{"netlink""#,
            r#""protocol":12,"state":{"netlink""#,
        ),
        (r#""values":[1,2]"#, r#""values":[]"#),
        (r#""path":"/tmp/f""#, r#""path":"f""#),
        (r#""own":"02001f90"#, r#""own":"0a001f90"#),
    ] {
        assert!(good.contains(truth), "{truth}");
        let bad = good.replacen(truth, lie, 1);
        let refused = decode(&frame(bad.as_bytes())).and_then(|it| verify(&it, 1000));
        assert!(refused.is_err(), "{lie} passed");
    }
}
