//! A container that was made with a terminal (`process.terminal`), by the runtime alone.

use std::fs::File;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use black_box_tests::{Bed, Bundle, Terminal, bed};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

/// Runs it with a socket for its terminal; gives the terminal.
fn on_a_socket(bundle: &Bundle<'_>, verb: &[&str]) -> File {
    let socket = bundle.dir().join("console.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let dir = bundle.dir().to_str().unwrap();
    let more = [
        "--detach",
        "--bundle",
        dir,
        "--console-socket",
        socket.to_str().unwrap(),
        bundle.id(),
    ];
    let arguments = [verb, &more].concat();
    let mut command = bundle.command(&arguments);
    command.run_detached(&bundle.dir().join("stdio")).ok();
    receive(&listener.accept().unwrap().0)
}

fn receive(from: &UnixStream) -> File {
    let mut bytes = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(
        from,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    let fds = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    File::from(fds.unwrap())
}

fn read_until(terminal: &mut File, text: &str) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&all).contains(text) {
        let mut fds = [rustix::event::PollFd::new(
            &*terminal,
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::event::Timespec::try_from(Duration::from_secs(20)).unwrap();
        assert_eq!(
            rustix::event::poll(&mut fds, Some(&limit)).unwrap(),
            1,
            "no {text:?} but {all:?}"
        );
        let count = terminal.read(&mut buffer).unwrap();
        all.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(all).unwrap()
}

fn shell(bed: &Bed) -> Bundle<'_> {
    let mut bundle = Bundle::new(bed, &["/bin/sh"]);
    bundle.set("/process/terminal", json!(true));
    bundle
}

#[test]
fn goes_to_whoever_asks_for_it() {
    bed!(|bed| {
        let bundle = shell(bed);
        let image = bundle.dir().join("image");
        let image = image.to_str().unwrap();
        let mut terminal = on_a_socket(&bundle, &["run"]);
        terminal.write_all(b"X=kept; echo _$X\n").unwrap();
        read_until(&mut terminal, "_kept");
        bundle
            .runtime(&["checkpoint", "--image-path", image, bundle.id()])
            .ok();
        bundle.delete();
        // Nobody stays to hold it, or the container has none.
        let dir = bundle.dir().to_str().unwrap();
        let restore = ["restore", "--image-path", image, "--bundle", dir];
        let detached = [&restore[..], &["--detach", bundle.id()]].concat();
        bundle.runtime(&detached).fails(1, &["--console-socket"]);
        let mut without = Bundle::new(bed, &["/bin/sh"]);
        without.set("/root/path", json!(bundle.root().to_str().unwrap()));
        let dir = without.dir().to_str().unwrap();
        let restore_without = [
            "restore",
            "--image-path",
            image,
            "--bundle",
            dir,
            without.id(),
        ];
        without
            .runtime(&restore_without)
            .fails(1, &["restore it with process.terminal"]);

        let mut terminal = on_a_socket(&bundle, &restore[..3]);
        terminal.write_all(b"echo again $X\n").unwrap();
        read_until(&mut terminal, "again kept");
        bundle
            .runtime(&["checkpoint", "--image-path", image, bundle.id()])
            .ok();
        bundle.delete();
        // Or we stay, with a terminal of our own.
        let attached = [&restore[..], &[bundle.id()]].concat();
        let mut ours = Terminal::start(&mut bundle.command(&attached), 101, 31);
        ours.type_in("echo once more $X; stty size; exit 5\n");
        ours.wait_for("once more kept");
        ours.wait_for("31 101");
        assert_eq!(ours.finish().0, 5);
        assert!(!Path::new(image).join("checkpoint.new").exists());
    });
}
