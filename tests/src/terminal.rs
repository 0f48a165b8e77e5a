//! A terminal for programs that want one: a pty of ours, its slave side as the program's controlling terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::command::Invocation;

/// A program on a terminal.
pub struct Terminal {
    master: File,
    slave: OwnedFd,
    child: Child,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts the program on a new terminal of this size.
    pub fn start(invocation: &mut Invocation, columns: u16, rows: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = OwnedFd::from(
            File::options()
                .read(true)
                .write(true)
                .custom_flags_noctty()
                .open(name.to_str().unwrap())
                .unwrap(),
        );
        tcsetwinsize(&slave, size(columns, rows)).unwrap();

        let (command, _) = invocation.take().into_parts();
        // setsid makes the slave the controlling terminal, which safe Rust cannot do between fork and exec.
        let mut session = std::process::Command::new("setsid");
        session
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        session.env("TERM", "xterm");
        session.stdin(Stdio::from(slave.try_clone().unwrap()));
        session.stdout(Stdio::from(slave.try_clone().unwrap()));
        session.stderr(Stdio::from(slave.try_clone().unwrap()));
        let child = session.spawn().unwrap();

        let master = File::from(master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            master,
            slave,
            child,
            screen,
        }
    }

    /// Types this.
    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Everything that was shown.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Waits until this is shown.
    pub fn wait_for(&self, text: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.screen().contains(text) {
            assert!(
                Instant::now() < end,
                "the terminal never showed {text:?}, but {:?}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Gives the terminal another size, as a user dragging the window does.
    pub fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.master, size(columns, rows)).unwrap();
    }

    /// Whether the terminal echoes what is typed, which raw mode turns off.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.slave)
            .unwrap()
            .local_modes
            .contains(rustix::termios::LocalModes::ECHO)
    }

    /// Sends a signal to the program (not to `setsid`, which waits for it).
    pub fn signal(&self, signal: Signal) {
        let parent = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
            .unwrap_or_default();
        let pid = children
            .split_whitespace()
            .next()
            .map_or(parent, |pid| pid.parse().unwrap());
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits for the end; gives the exit code (as a shell: 128 + signal) and all that was shown.
    pub fn finish(mut self) -> (i32, String) {
        let end = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                let _ = self.child.kill();
                panic!(
                    "the program on the terminal hangs; it showed {:?}",
                    self.screen()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        std::thread::sleep(Duration::from_millis(20)); // what is still in the pty
        (status.code().unwrap_or(-1), self.screen())
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// `O_NOCTTY`, or a test process without a terminal would gain one.
trait NoControllingTerminal {
    fn custom_flags_noctty(&mut self) -> &mut Self;
}

impl NoControllingTerminal for std::fs::OpenOptions {
    fn custom_flags_noctty(&mut self) -> &mut Self {
        use std::os::unix::fs::OpenOptionsExt;
        self.custom_flags(rustix::fs::OFlags::NOCTTY.bits().cast_signed())
    }
}
