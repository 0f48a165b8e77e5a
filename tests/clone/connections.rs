//! Clients outside: the container's notice nothing, the clone has none of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use black_box_tests::{BUSYBOX, Bed, bed, eventually};

/// Says something and hears it again.
fn echo(client: &TcpStream, text: &str) {
    let mut writer = client;
    writer.write_all(format!("{text}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), text);
}

fn connect(bed: &Bed, name: &str) -> TcpStream {
    let port = bed.run(&["port", name, "80/tcp"]).ok();
    let client = eventually(30, "the server to listen", || {
        TcpStream::connect(&port).ok()
    });
    client
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    client
}

#[test]
fn those_of_the_container_stay_and_a_clone_has_its_own() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "-d",
            "--name",
            "one",
            "-p",
            "127.0.0.1::80",
            BUSYBOX,
            "nc",
            "-ll",
            "-p",
            "80",
            "-e",
            "cat",
        ])
        .ok();
        // The port is open before anybody in the container listens.
        let client = eventually(30, "an echo", || {
            let client = connect(bed, "one");
            let mut writer = &client;
            writer.write_all(b"a\n").ok()?;
            let mut line = String::new();
            BufReader::new(&client).read_line(&mut line).ok()?;
            (line == "a\n").then_some(client)
        });
        bed.run(&["clone", "--name-prefix", "c", "one", "2"]).ok();
        for text in ["b", "c", "d"] {
            echo(&client, text);
        }
        for name in ["c-1", "c-2"] {
            // Who served that client hears that it is gone, and ends.
            eventually(30, "the connection to end", || {
                let found = bed.run(&["exec", name, "pidof", "cat"]);
                (!found.status.success()).then_some(())
            });
            let other = connect(bed, name);
            echo(&other, "x");
            echo(&client, "y");
        }
        bed.run(&["rm", "-f", "c-1", "c-2"]).ok();
        echo(&client, "z");
    });
}
