//! `load`, `save` and `import`.

use black_box_tests::{BUSYBOX, ImageBuilder, Layer, Tar, bed};

#[test]
fn load_from_file_and_from_input() {
    bed!(|bed| {
        let one = ImageBuilder::busybox()
            .tar(Tar::new().file("one", 0o644, "1"))
            .docker_archive("one:v1");
        let two = ImageBuilder::busybox()
            .tar(Tar::new().file("two", 0o644, "2"))
            .oci_archive("two:v2");
        let file = bed.file("one.tar", one);
        assert!(
            bed.run(&["load", "-i", &file])
                .ok()
                .contains("Loaded image: one:v1")
        );
        assert!(
            bed.command(&["load"])
                .input(two)
                .run()
                .ok()
                .contains("two:v2")
        );
        assert_eq!(bed.run(&["run", "--rm", "one:v1", "cat", "/one"]).ok(), "1");
        assert_eq!(bed.run(&["run", "--rm", "two:v2", "cat", "/two"]).ok(), "2");
    });
}

#[test]
fn load_of_compressed_archives_and_layers() {
    bed!(|bed| {
        let image = ImageBuilder::busybox()
            .layer(Layer::zstd(&Tar::new().file("zstd", 0o644, "z").finish()))
            .layer(Layer::plain(&Tar::new().file("plain", 0o644, "p").finish()));
        let oci = image.oci_archive("mixed:1");
        bed.command(&["load"])
            .input(black_box_tests::gzip(&oci))
            .run()
            .ok();
        assert_eq!(
            bed.run(&["run", "--rm", "mixed:1", "cat", "/zstd", "/plain"])
                .ok(),
            "zp"
        );
        bed.run(&["rmi", "mixed:1"]).ok();
        bed.command(&["load"]).input(zstd_of(&oci)).run().ok();
        assert_eq!(
            bed.run(&["run", "--rm", "mixed:1", "cat", "/zstd", "/plain"])
                .ok(),
            "zp"
        );
    });
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    Layer::zstd(bytes).blob
}

#[test]
fn save_then_load() {
    bed!(|bed| {
        let file = bed.dir().join("saved.tar");
        let file = file.to_str().unwrap();
        bed.run(&["tag", BUSYBOX, "other/name:x"]).ok();
        let id = bed.inspect(BUSYBOX, "{{.Id}}");
        bed.run(&["save", "-o", file, BUSYBOX, "other/name:x"]).ok();
        bed.run(&["rmi", BUSYBOX, "other/name:x"]).ok();
        assert_eq!(bed.run(&["images", "-aq"]).ok(), "");
        bed.run(&["load", "-i", file]).ok();
        assert_eq!(bed.inspect("other/name:x", "{{.Id}}"), id);
        assert_eq!(bed.inspect(BUSYBOX, "{{.Id}}"), id);
        // To standard output too, and other tools can read it.
        let saved = bed.run(&["save", BUSYBOX]);
        assert!(saved.status.success());
        let names = bed.command(&["version"]).run().ok() + &list(bed, &saved.stdout);
        for member in ["manifest.json", "index.json", "oci-layout", "blobs/sha256/"] {
            assert!(names.contains(member), "{member} is missing: {names}");
        }
        bed.run(&["save", "no-such-image"])
            .fails(1, &["no-such-image"]);
    });
}

fn list(bed: &black_box_tests::Bed, archive: &[u8]) -> String {
    let file = bed.file("list.tar", archive);
    bed.host("tar", &["-tf", &file]).ok()
}

#[test]
fn import_of_a_root_file_system() {
    bed!(|bed| {
        let busybox = std::fs::read("/bin/busybox").unwrap();
        let tar = Tar::new()
            .directory("bin", 0o755)
            .file("bin/busybox", 0o755, busybox)
            .symlink("bin/sh", "busybox")
            .finish();
        let file = bed.file("rootfs.tar", &tar);
        let arguments = [
            "import",
            "--change",
            r#"CMD ["/bin/busybox", "echo", "hello"]"#,
            "--change",
            "ENV A=\"b c\"",
            "-m",
            "by hand",
            &file,
            "imported:1",
        ];
        let id = bed.run(&arguments).ok();
        assert!(id.starts_with("sha256:"), "{id}");
        assert_eq!(bed.run(&["run", "--rm", "imported:1"]).ok(), "hello");
        assert_eq!(
            bed.run(&["run", "--rm", "imported:1", "sh", "-c", "echo $A"])
                .ok(),
            "b c"
        );
        let again = bed
            .command(&["import", "-", "imported:2"])
            .input(black_box_tests::gzip(&tar))
            .run()
            .ok();
        assert!(again.starts_with("sha256:"));
        bed.run(&["import", "/no/such.tar", "x"])
            .fails(1, &["/no/such.tar"]);
    });
}

#[test]
fn plain_lines_where_there_is_no_terminal() {
    bed!(|bed| {
        let file = bed.file(
            "one.tar",
            ImageBuilder::busybox()
                .tar(Tar::new().file("a", 0o644, "1"))
                .docker_archive("one:v1"),
        );
        let outcome = bed.run(&["load", "-i", &file]);
        assert!(
            !outcome.error().contains('\x1b') && !outcome.text().contains('\x1b'),
            "{}",
            outcome.story()
        );
    });
}
