//! Running a program with a limit on its time and on what it may print, and saying what came out.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A command that takes longer than this hangs, as far as a test is concerned.
const LIMIT: Duration = Duration::from_mins(1);
/// More output than this is cut off.
const MOST_OUTPUT: usize = 16 << 20;

/// A program about to be started.
pub struct Invocation {
    command: Command,
    words: Vec<OsString>,
    input: Option<Vec<u8>>,
    limit: Duration,
}

impl Invocation {
    pub fn new(program: &Path) -> Self {
        let mut command = Command::new(program);
        command.env_remove("WHARF_BED");
        Self {
            command,
            words: vec![program.file_name().unwrap().to_owned()],
            input: None,
            limit: LIMIT,
        }
    }

    pub fn arguments(&mut self, arguments: &[&str]) -> &mut Self {
        self.command.args(arguments);
        self.words.extend(arguments.iter().map(OsString::from));
        self
    }

    pub fn variable(&mut self, name: &str, value: &str) -> &mut Self {
        self.command.env(name, value);
        self
    }

    /// What the program reads; without it, `/dev/null`.
    pub fn input(&mut self, input: impl AsRef<[u8]>) -> &mut Self {
        self.input = Some(input.as_ref().to_vec());
        self
    }

    pub fn limit(&mut self, seconds: u64) -> &mut Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Starts it and waits for its end.
    pub fn run(&mut self) -> Outcome {
        let limit = self.limit;
        let input = self.input.take();
        let mut started = self.start_with(input.is_some());
        if let Some(input) = input {
            let mut pipe = started.stdin.take().unwrap();
            // A program may exit without reading what it was given.
            std::thread::spawn(move || drop(pipe.write_all(&input)));
        }
        started.wait(limit)
    }

    /// Runs it to its end with its output in a file, which whatever it starts may keep open.
    pub fn run_detached(&mut self, output: &Path) -> Outcome {
        let file = std::fs::File::create(output).unwrap();
        self.command.stdin(Stdio::null());
        self.command.stdout(file.try_clone().unwrap()).stderr(file);
        let start = Instant::now();
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("start {:?}: {error}", self.words));
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < self.limit, "{:?} hangs", self.words);
            std::thread::sleep(Duration::from_millis(2));
        };
        Outcome {
            status,
            stdout: Vec::new(),
            stderr: std::fs::read(output).unwrap(),
            words: self.words.clone(),
        }
    }

    /// Starts it, with a pipe for its input.
    pub fn start(&mut self) -> Started {
        self.start_with(true)
    }

    fn start_with(&mut self, piped: bool) -> Started {
        self.command
            .stdin(if piped { Stdio::piped() } else { Stdio::null() });
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("start {:?}: {error}", self.words));
        Started {
            stdin: child.stdin.take(),
            stdout: Collector::start(child.stdout.take().unwrap()),
            stderr: Collector::start(child.stderr.take().unwrap()),
            child,
            words: self.words.clone(),
        }
    }

    pub(crate) fn into_parts(self) -> (Command, Vec<OsString>) {
        (self.command, self.words)
    }

    /// The words of the command line.
    pub(crate) fn take(&mut self) -> Self {
        let program = self.command.get_program().to_owned();
        std::mem::replace(self, Self::new(Path::new(&program)))
    }
}

/// A program that runs.
pub struct Started {
    pub stdin: Option<ChildStdin>,
    child: Child,
    stdout: Collector,
    stderr: Collector,
    words: Vec<OsString>,
}

impl Started {
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// What it has written to its standard output up to now.
    pub fn stdout_so_far(&self) -> String {
        self.stdout.so_far()
    }

    /// What it has written to its standard error up to now.
    pub fn stderr_so_far(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits until its output holds `text`.
    pub fn wait_for(&self, text: &str) {
        crate::eventually(
            30,
            &format!(
                "{:?} to print {text:?}, stderr: {}",
                self.words,
                self.stderr.so_far()
            ),
            || self.stdout.so_far().contains(text).then_some(()),
        );
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end; panics when it hangs.
    pub fn finish(mut self) -> Outcome {
        self.stdin = None;
        self.wait(LIMIT)
    }

    fn wait(mut self, limit: Duration) -> Outcome {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > limit {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!(
                    "{:?} hangs: not done after {limit:?}\nstdout: {}\nstderr: {}",
                    self.words,
                    self.stdout.so_far(),
                    self.stderr.so_far()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Outcome {
            status,
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
            words: self.words,
        }
    }
}

/// Reads a pipe in the background. The pipe may outlive the program (a detached process may have inherited it by
/// mistake), so that finishing waits only a moment for its end.
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Collector {
    fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut sink = sink.lock().unwrap();
                if sink.len() < MOST_OUTPUT {
                    sink.extend_from_slice(&buffer[..count]);
                }
            }
        });
        Self { bytes, thread }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    fn finish(self) -> Vec<u8> {
        crate::eventually(
            5,
            "the end of the output: something that was started still holds the pipe",
            || self.thread.is_finished().then_some(()),
        );
        std::mem::take(&mut self.bytes.lock().unwrap())
    }
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    words: Vec<OsString>,
}

impl Outcome {
    /// Asserts success; gives the standard output without the line end.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert!(self.status.success(), "{}", self.story());
        self.text().trim_end_matches('\n').to_owned()
    }

    /// Asserts an exit code; gives the standard output without the line end.
    #[track_caller]
    pub fn code(&self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{}", self.story());
        self.text().trim_end_matches('\n').to_owned()
    }

    /// Asserts that it failed with one clear sentence that holds each of `parts` (letter case aside).
    #[track_caller]
    pub fn fails(&self, code: i32, parts: &[&str]) -> String {
        assert_eq!(self.status.code(), Some(code), "{}", self.story());
        let said = self.error();
        let lower = said.to_lowercase();
        for part in parts {
            assert!(
                lower.contains(&part.to_lowercase()),
                "the message lacks {part:?}\n{}",
                self.story()
            );
        }
        assert!(
            !said.trim().is_empty(),
            "it failed without a word\n{}",
            self.story()
        );
        // A message is a sentence (and at most a hint), not a dump of our insides.
        for noise in [
            "panicked",
            "RUST_BACKTRACE",
            "Error {",
            "Os {",
            "kind:",
            "unwrap",
        ] {
            assert!(
                !said.contains(noise),
                "the message shows our insides: {noise}\n{}",
                self.story()
            );
        }
        assert!(
            said.lines().count() <= 6,
            "the message is too long\n{}",
            self.story()
        );
        said
    }

    /// Asserts that it was refused before or at its start, whichever of 125 to 127 that is, with one clear sentence.
    #[track_caller]
    pub fn refused(&self, parts: &[&str]) -> String {
        let code = self.status.code().unwrap_or(-1);
        assert!((125..=127).contains(&code), "{}", self.story());
        self.fails(code, parts)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn error(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    }

    /// All of it, for a message.
    pub fn story(&self) -> String {
        let words: Vec<_> = self
            .words
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        format!(
            "{}\n{}\nstdout: {}\nstderr: {}",
            words.join(" "),
            self.status,
            self.text(),
            self.error()
        )
    }
}
