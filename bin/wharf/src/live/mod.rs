//! `wharf top` without a container: a live view of all that run.
//!
//! [`keys`] turns bytes into keys, [`view`] holds what is shown and is pure,
//! [`draw`] makes a screen of it; here is the loop around them. Stops and
//! restarts run in threads of their own, so that the view goes on.

mod draw;
mod keys;
mod view;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use engine::{Engine, LogsRequest};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::terminal::signals::{Event, Signals};
use crate::terminal::{raw, size};
use view::{Act, Step, View};

/// Between two looks at the containers.
const PERIOD: Duration = Duration::from_secs(1);
/// Between the first two, so that there are numbers at once.
const FIRST: Duration = Duration::from_millis(100);
/// Alternate screen, no cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

pub(crate) fn run(engine: &Engine) -> Result<u8> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "top without a container needs a terminal: name one, or use stats",
        ));
    }
    let host = engine.info()?.mem_total;
    let signals = Signals::new()?;
    let raw = raw::raw()?;
    write(ENTER)?;
    let shown = show(engine, host, &signals);
    let left = write(LEAVE);
    drop(raw);
    shown.and(left).map(|()| super::commands::DONE)
}

fn show(engine: &Engine, host: u64, signals: &Signals) -> Result<()> {
    let (told, news) = channel();
    let mut view = View::new(host);
    look(engine, &mut view)?;
    let mut next = Instant::now() + FIRST;
    loop {
        hear(&mut view, &news);
        let window = size().unwrap_or(spec::runtime::ConsoleSize {
            height: 24,
            width: 80,
        });
        write(&draw::screen(&view, window.width, window.height))?;
        let patience = next.saturating_duration_since(Instant::now());
        let Some(typed) = wait(signals, patience)? else {
            return Ok(());
        };
        for key in keys::keys(&typed) {
            match view.key(key) {
                Step::Go => {}
                Step::Leave => return Ok(()),
                Step::Do(act, name) => act_aside(engine.clone(), act, name, told.clone()),
            }
        }
        if Instant::now() >= next {
            look(engine, &mut view)?;
            next = Instant::now() + PERIOD;
        }
    }
}

fn look(engine: &Engine, view: &mut View) -> Result<()> {
    let samples = engine
        .containers()
        .stats(&[], false)
        .context(|| "look at the containers")?;
    view.add(samples);
    if let Some(name) = view.logs_of() {
        let mut lines = Vec::new();
        let request = LogsRequest {
            tail: Some(view::LOG_LINES),
            ..LogsRequest::default()
        };
        let read = engine.containers().logs(&name, &request, &mut |entry| {
            lines.push(String::from_utf8_lossy(&entry.text).into_owned());
            Ok(())
        });
        if let Err(error) = read {
            lines.push(error.to_string());
        }
        view.set_logs(lines);
    }
    Ok(())
}

/// What was typed, empty if nothing was; `None`: it is time to go.
fn wait(signals: &Signals, patience: Duration) -> Result<Option<Vec<u8>>> {
    let stdin = std::io::stdin();
    let mut fds = [
        PollFd::new(&stdin, PollFlags::IN),
        PollFd::new(signals, PollFlags::IN),
    ];
    let time = Timespec {
        tv_sec: patience.as_secs().cast_signed(),
        tv_nsec: patience.subsec_nanos().into(),
    };
    match poll(&mut fds, Some(&time)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno).context(|| "wait for keys"),
    }
    let has_keys = !fds[0].revents().is_empty();
    while let Some(event) = signals.next()? {
        if matches!(event, Event::Forward(_)) {
            return Ok(None);
        }
    }
    if !has_keys {
        return Ok(Some(Vec::new()));
    }
    let mut typed = [0; 64];
    let length = stdin.lock().read(&mut typed).context(|| "read keys")?;
    // The terminal is gone.
    Ok((length > 0).then(|| typed[..length].to_vec()))
}

fn act_aside(engine: Engine, act: Act, name: String, told: Sender<String>) {
    std::thread::spawn(move || {
        let containers = engine.containers();
        let done = match act {
            Act::Stop => containers.stop(&name, None, None),
            Act::Restart => containers.restart(&name, None, None),
        };
        let news = match done {
            Ok(()) => format!("{name} was {}", act.past()),
            Err(error) => format!("{} {name}: {error}", act.word()),
        };
        // Nobody listens any more if the view was left.
        let _ = told.send(news);
    });
}

fn hear(view: &mut View, news: &Receiver<String>) {
    for text in news.try_iter() {
        view.tell(text);
    }
}

fn write(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context(|| "write to the terminal")
}
