//! `volume export`, `import` and `clone`.

use std::fs;

use black_box_tests::{BUSYBOX, bed};

#[test]
fn what_goes_out_comes_back() {
    bed!(|bed| {
        bed.shell(
            &["-v", "data:/d"],
            "cd /d; mkdir -m 1750 sub; echo one > sub/f; ln sub/f hard; ln -s /etc/passwd soft; chown 70:71 sub/f; chmod 4711 sub/f; mkfifo pipe",
        )
        .ok();
        let look = "cd /d; find . | sort; stat -c '%a %u:%g %h' sub sub/f; readlink soft; cat hard";
        let before = bed.shell(&["-v", "data:/d"], look).ok();
        let archive = bed.dir().join("data.tar");
        bed.run(&["volume", "export", "data", "-o", archive.to_str().unwrap()])
            .ok();
        assert_eq!(
            bed.run(&[
                "volume",
                "import",
                "--label",
                "a=b",
                "back",
                archive.to_str().unwrap()
            ])
            .ok(),
            "back"
        );
        assert_eq!(bed.shell(&["-v", "back:/d"], look).ok(), before);
        assert_eq!(
            bed.run(&["volume", "ls", "-q", "-f", "label=a"]).ok(),
            "back"
        );
        bed.run(&["volume", "import", "back", archive.to_str().unwrap()])
            .fails(1, &["volume back is there already"]);
        let mut piped = bed.command(&["volume", "import", "piped"]);
        piped.input(fs::read(&archive).unwrap());
        assert_eq!(piped.run().ok(), "piped");
        assert_eq!(bed.run(&["volume", "clone", "data", "copy"]).ok(), "copy");
        assert_eq!(bed.shell(&["-v", "copy:/d"], look).ok(), before);
        bed.shell(&["-v", "copy:/d"], "echo changed > /d/hard").ok();
        assert_eq!(
            bed.shell(&["-v", "data:/d"], look).ok(),
            before,
            "they share nothing"
        );
        bed.run(&["volume", "clone", "data", "copy"])
            .fails(1, &["is there already"]);
        bed.run(&["volume", "clone", "--label", "c=d", "data", "marked"])
            .ok();
        assert_eq!(
            bed.run(&["volume", "ls", "-q", "-f", "label=c=d"]).ok(),
            "marked"
        );
        for verb in [
            &["volume", "clone", "-o", "nonsense=1", "data", "x1"],
            &["volume", "import", "-o", "nonsense=1", "x1", "/dev/null"],
        ] {
            bed.run(verb).fails(1, &["no option \"nonsense\""]);
        }
        bed.run(&["volume", "clone", "missing"])
            .fails(1, &["no such volume: missing"]);
        bed.run(&["volume", "prune", "-a", "-f"]).ok();
    });
}

#[test]
fn half_an_archive_makes_no_volume() {
    bed!(|bed| {
        bed.shell(&["-v", "data:/d"], "head -c 100000 /dev/urandom > /d/f")
            .ok();
        let archive = bed.dir().join("data.tar");
        bed.run(&["volume", "export", "data", "-o", archive.to_str().unwrap()])
            .ok();
        let half = fs::read(&archive).unwrap()[..60_000].to_vec();
        let half = bed.file("half.tar", half);
        bed.run(&["volume", "import", "half", &half])
            .fails(1, &["import"]);
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok(), "data");
        let empty = bed.file("empty.tar", "");
        bed.run(&["volume", "import", "empty", &empty]);
        bed.run(&["run", "--rm", "-v", "half:/d", BUSYBOX, "ls", "/d"])
            .ok();
        bed.run(&["volume", "prune", "-a", "-f"]).ok();
        bed.run(&["system", "repair"]).ok();
        let left: Vec<_> = fs::read_dir(bed.root().join("volumes")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    });
}
