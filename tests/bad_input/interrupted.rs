//! Ctrl-C and a full disk in the middle of things.

use black_box_tests::{
    BUSYBOX, Bed, HostileRegistry, ImageBuilder, Layer, Tar, Terminal, bed, eventually,
};
use rustix::process::Signal;

fn slow_registry(image: &ImageBuilder) -> HostileRegistry {
    let layer = image.layers.last().unwrap().digest();
    HostileRegistry::serving(image, move |request, answer| {
        if request.path.ends_with(&layer) {
            answer.slowly(400_000)
        } else {
            answer
        }
    })
}

fn noisy_layer(bytes: usize) -> Layer {
    let noise: Vec<u8> = (0..bytes)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect();
    Layer::plain(&Tar::new().file("noise", 0o644, noise).finish())
}

#[test]
fn control_c_during_pull() {
    bed!(|bed| {
        let registry = slow_registry(&ImageBuilder::busybox().layer(noisy_layer(2 << 20)));
        let name = format!("{}/slow:1", registry.address);
        let pulling = bed.command(&["pull", &name]).start();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        pulling.signal(Signal::INT);
        let outcome = pulling.finish();
        assert_ne!(outcome.status.code(), Some(0), "{}", outcome.story());
        bed.run(&["run", "--rm", "--pull", "never", &name, "true"])
            .fails(125, &["no such image"]);
        // It goes on where it was, and works.
        bed.run(&["pull", &name]).ok();
        bed.run(&["run", "--rm", &name, "test", "-s", "/noise"])
            .ok();
    });
}

#[test]
fn progress_bars_are_taken_away_on_control_c() {
    bed!(|bed| {
        let registry = slow_registry(&ImageBuilder::busybox().layer(noisy_layer(2 << 20)));
        let name = format!("{}/slow:1", registry.address);
        let mut terminal = Terminal::start(&mut bed.command(&["pull", &name]), 80, 24);
        eventually(10, "a progress bar", || {
            terminal.screen().contains('[').then_some(())
        });
        terminal.type_in("\x03");
        let (code, screen) = terminal.finish();
        assert_eq!(code, 130, "{screen}");
        assert!(
            !screen.contains("\x1b[?25l") || screen.contains("\x1b[?25h"),
            "the cursor is shown again"
        );
    });
}

#[test]
fn control_c_during_run_while_pulling() {
    bed!(|bed| {
        let registry = slow_registry(&ImageBuilder::busybox().layer(noisy_layer(2 << 20)));
        let name = format!("{}/slow:1", registry.address);
        let running = bed
            .command(&["run", "--name", "early", &name, "true"])
            .start();
        std::thread::sleep(std::time::Duration::from_secs(1));
        running.signal(Signal::INT);
        assert!(!running.finish().status.success());
        assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
        bed.run(&["run", "--rm", "--name", "early", BUSYBOX, "true"])
            .ok();
    });
}

#[test]
fn control_c_during_run() {
    bed!(|bed| {
        let running = bed
            .command(&[
                "run",
                "--rm",
                BUSYBOX,
                "sh",
                "-c",
                "trap 'exit 0' INT; echo ready; while :; do sleep 0.05; done",
            ])
            .start();
        running.wait_for("ready");
        running.signal(Signal::INT);
        running.finish().ok();
        bed.nothing_runs();
    });
}

/// Runs `body` with the store on a small disk of its own.
fn on_a_small_disk(
    bed: &Bed,
    megabytes: u32,
    body: impl Fn(&dyn Fn(&[&str]) -> black_box_tests::Outcome),
) {
    let disk = bed.dir().join("small");
    std::fs::create_dir(&disk).unwrap();
    let disk = disk.to_str().unwrap().to_owned();
    bed.host(
        "mount",
        &[
            "-t",
            "tmpfs",
            "-o",
            &format!("size={megabytes}m"),
            "tmpfs",
            &disk,
        ],
    )
    .ok();
    let root = format!("{disk}/root");
    body(&|arguments| {
        let mut words = vec!["--root", root.as_str(), "--runroot", "/run/wharf-small"];
        words.extend(arguments);
        bed.host(black_box_tests::binary("wharf").to_str().unwrap(), &words)
    });
    bed.host("umount", &[&disk]).ok();
}

#[test]
fn a_full_disk_during_load_and_pull() {
    bed!(|bed| {
        let image = ImageBuilder::busybox().layer(noisy_layer(30 << 20));
        let archive = bed.file("big.tar", image.docker_archive("big:1"));
        let small = bed.dir().join("busybox.tar");
        let small = small.to_str().unwrap().to_owned();
        let registry = HostileRegistry::serving(&image, |_, answer| answer);
        let name = format!("{}/big:1", registry.address);
        on_a_small_disk(bed, 24, |wharf| {
            wharf(&["load", "-q", "-i", &archive]).fails(1, &["no space"]);
            wharf(&["pull", "-q", &name]).fails(1, &["no space"]);
            assert_eq!(wharf(&["images", "-aq"]).ok(), "");
            // What was half there is freed when asked, and small things still work.
            wharf(&["system", "repair"]).ok();
            wharf(&["load", "-q", "-i", &small]).ok();
            wharf(&["run", "--rm", BUSYBOX, "true"]).ok();
        });
    });
}

#[test]
fn a_full_disk_during_commit() {
    bed!(|bed| {
        let small = bed.dir().join("busybox.tar");
        let small = small.to_str().unwrap().to_owned();
        on_a_small_disk(bed, 32, |wharf| {
            wharf(&["load", "-q", "-i", &small]).ok();
            wharf(&[
                "run",
                "--name",
                "fat",
                BUSYBOX,
                "sh",
                "-c",
                "head -c 18000000 /dev/urandom > /fat",
            ])
            .ok();
            wharf(&["commit", "fat", "fat:1"]).fails(1, &["no space"]);
            assert_eq!(wharf(&["images", "-q"]).ok().lines().count(), 1);
            wharf(&["rm", "fat"]).ok();
            wharf(&["run", "--rm", BUSYBOX, "true"]).ok();
        });
    });
}
