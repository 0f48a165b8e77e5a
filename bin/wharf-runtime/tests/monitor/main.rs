//! The monitor, driven as an engine drives it: real binary, real containers.
//! Needs root.

#![allow(clippy::unwrap_used)]

mod engine;
mod template;

use std::time::{Duration, Instant};

use engine::{
    Monitor, Place, ends_within, eventually, is_running, next, numbers, process, roles, watch,
    watch_for,
};
use rustix::process::Signal;
use spec::runtime::{ConsoleSize, Memory, Process, Resources};
use state::channel::Stream;
use state::{
    Channel, ExecSpec, ExitStatus, FdRole, Frame, FromMonitor, LogTarget, RestartPolicy,
    SeccompProfile, StdinMode, ToMonitor, Work,
};
use sys::ErrorKind;

#[test]
fn output_and_exit_code_arrive_and_are_kept() {
    let place = Place::new();
    let job = place.job("echo out; echo err >&2; exit 7");
    let (monitor, init) = Monitor::start(&job);
    let facts = place.facts();
    assert_eq!(facts.sandbox.unwrap().init, init);
    assert_eq!(facts.monitor.pid, monitor.pid);
    let seen = watch(monitor.channel());
    assert_eq!(seen.text(), "out\n");
    assert_eq!(seen.stderr, b"err\n");
    assert_eq!(seen.status(), ExitStatus::Code(7));
    // Written down before we were told.
    assert_eq!(place.exit_record(), seen.exit);
    // We hold the lease and clean up.
    std::fs::remove_dir_all(place.run_dir()).unwrap();
    monitor.wait();
    assert_eq!(place.cleanups(), 0);
    assert_eq!(place.log("stdout"), "out\n");
    assert_eq!(place.log("stderr"), "err\n");
}

#[test]
fn a_signal_is_told_from_a_code() {
    let place = Place::new();
    let (monitor, _) = Monitor::start(&place.job("echo up; sleep 100"));
    watch_for(monitor.channel(), "up");
    monitor.send(&ToMonitor::Signal(9));
    assert_eq!(watch(monitor.channel()).status(), ExitStatus::Signal(9));
}

#[test]
fn a_start_that_fails_is_told_in_words() {
    let place = Place::new();
    let mut job = place.job("");
    process(&mut job).args = vec!["/bin/nothing-here".to_owned()];
    let monitor = Monitor::launch(&job);
    monitor.send(&ToMonitor::Go);
    let error = monitor.started().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommandNotFound, "{error}");
    assert!(error.to_string().contains("nothing-here"), "{error}");
    monitor.wait();
    assert_eq!(place.exit_record(), None);
    // Who was told of a failed start undoes what it did.
    assert_eq!(place.cleanups(), 0);
}

#[test]
fn a_broken_job_is_told_in_words() {
    let place = Place::new();
    let mut job = place.job("true");
    roles(&mut job, &[FdRole::Port]);
    let text = serde_json::to_vec(&job).unwrap();
    for bad in [b"{}".as_slice(), &text] {
        // The second one promises a descriptor that is not there.
        let memfd = sys::memfd::sealed("job", bad).unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let child = sys::spawn::Spawn::new(env!("CARGO_BIN_EXE_wharf-runtime").as_ref())
            .arg("monitor")
            .fd(std::os::fd::AsFd::as_fd(&memfd), 3)
            .fd(std::os::fd::AsFd::as_fd(&theirs), 4)
            .start()
            .unwrap();
        drop(theirs);
        match next(&ours) {
            Some(Frame::Message(FromMonitor::Failed(error))) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert!(ends_within(&child.pidfd, Duration::from_secs(30)));
    }
}

#[test]
fn a_launcher_that_dies_before_go_leaves_nothing() {
    let place = Place::new();
    let mut monitor = Monitor::launch(&place.job("echo never > /tmp/ran"));
    monitor.ready();
    monitor.leave();
    monitor.wait();
    assert!(!place.path("root/tmp/ran").exists());
    assert_eq!(place.exit_record(), None);
    eventually("the clean-up runs", || place.cleanups() == 1);
}

#[test]
fn a_launcher_that_leaves_later_hands_over_the_clean_up() {
    let place = Place::new();
    let mut job = place.job("cat; echo bye");
    job.stdin = StdinMode::Open;
    let (mut monitor, init) = Monitor::start(&job);
    monitor.leave();
    std::thread::sleep(Duration::from_millis(100));
    assert!(is_running(init.pid));
    let visitor = Channel::connect(&place.path("run/control.sock")).unwrap();
    visitor.send(&ToMonitor::Wait).unwrap();
    visitor.send(&ToMonitor::Signal(9)).unwrap();
    assert_eq!(watch(&visitor).status(), ExitStatus::Signal(9));
    drop(visitor);
    monitor.wait();
    eventually("the clean-up runs", || place.cleanups() == 1);
}

#[test]
fn a_launcher_that_dies_while_it_cleans_up_is_noticed() {
    let place = Place::new();
    let (monitor, _) = Monitor::start(&place.job("exit 0"));
    assert_eq!(watch(monitor.channel()).status(), ExitStatus::Code(0));
    // It leaves with the run directory still there.
    monitor.wait();
    eventually("the clean-up runs", || place.cleanups() == 1);
}

#[test]
fn input_reaches_the_program_and_ends() {
    let place = Place::new();
    let mut job = place.job("cat; echo end");
    job.stdin = StdinMode::Once;
    let monitor = Monitor::launch(&job);
    monitor.send(&ToMonitor::Attach { stdin: true });
    // Before the start and more than a pipe holds.
    let data: Vec<u8> = (0..600_000u32).map(|number| (number % 253) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            monitor.send(&ToMonitor::Go);
            for chunk in data.chunks(60_000) {
                monitor.channel().send_data(Stream::Stdin, chunk).unwrap();
            }
            monitor.channel().send_stdin_end().unwrap();
        });
        let seen = watch(monitor.channel());
        assert_eq!(seen.stdout.len(), data.len() + 4);
        assert!(seen.stdout.starts_with(&data) && seen.stdout.ends_with(b"end\n"));
    });
}

#[test]
fn open_input_survives_its_clients() {
    let place = Place::new();
    let mut job = place.job("cat");
    job.stdin = StdinMode::Open;
    let (mut monitor, _) = Monitor::start(&job);
    monitor
        .channel()
        .send_data(Stream::Stdin, b"one\n")
        .unwrap();
    watch_for(monitor.channel(), "one");
    monitor.channel().send_stdin_end().unwrap();
    monitor.leave();
    let visitor = Channel::connect(&place.path("run/control.sock")).unwrap();
    visitor.send(&ToMonitor::Attach { stdin: true }).unwrap();
    visitor.send_data(Stream::Stdin, b"two\n").unwrap();
    watch_for(&visitor, "two");
    visitor.send(&ToMonitor::Signal(9)).unwrap();
    watch(&visitor);
    drop(visitor);
    monitor.wait();
    assert_eq!(place.log("stdout"), "one\ntwo\n");
}

#[test]
fn a_terminal_has_a_size_and_passes_bytes_as_they_are() {
    let place = Place::new();
    let mut job = place.job("stty size; read line; stty size; exit 3");
    job.stdin = StdinMode::Once;
    process(&mut job).terminal = true;
    process(&mut job).console_size = Some(ConsoleSize {
        height: 30,
        width: 100,
    });
    let (monitor, _) = Monitor::start(&job);
    let text = watch_for(monitor.channel(), "30 100");
    // The line discipline of the terminal adds the carriage return, not we.
    assert!(
        text.contains("30 100\r\n") || text.ends_with("30 100"),
        "{text:?}"
    );
    monitor.send(&ToMonitor::Resize(ConsoleSize {
        height: 40,
        width: 120,
    }));
    monitor.channel().send_data(Stream::Stdin, b"\n").unwrap();
    let seen = watch(monitor.channel());
    assert!(seen.text().contains("40 120\r\n"), "{:?}", seen.text());
    assert_eq!(seen.status(), ExitStatus::Code(3));
    assert!(seen.stderr.is_empty());
}

#[test]
fn several_clients_see_the_same() {
    let place = Place::new();
    let mut job = place.job("read line; seq 1 20000; exit 1");
    job.stdin = StdinMode::Open;
    let (monitor, _) = Monitor::start(&job);
    let visitors: Vec<Channel> = (0..3)
        .map(|_| {
            let visitor = Channel::connect(&place.path("run/control.sock")).unwrap();
            visitor.send(&ToMonitor::Attach { stdin: false }).unwrap();
            visitor
        })
        .collect();
    // Input of a visitor that may not send any is not input. The messages of
    // all have arrived once the last one's have.
    visitors[2].send_data(Stream::Stdin, b"not mine\n").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    monitor.channel().send_data(Stream::Stdin, b"go\n").unwrap();
    let expected = numbers(20_000);
    std::thread::scope(|scope| {
        let watches: Vec<_> = visitors
            .iter()
            .chain(monitor.channel.as_ref())
            .map(|channel| scope.spawn(move || watch(channel)))
            .collect();
        for watched in watches {
            let seen = watched.join().unwrap();
            assert_eq!(seen.status(), ExitStatus::Code(1));
            assert!(seen.text() == expected);
        }
    });
}

#[test]
fn a_slow_client_loses_nothing_and_a_dead_one_blocks_nobody() {
    let place = Place::new();
    let mut job = place.job("seq 1 2000000; echo late > /tmp/late");
    job.log = LogTarget::None;
    let (monitor, _) = Monitor::start(&job);
    let dead = Channel::connect(&place.path("run/control.sock")).unwrap();
    dead.send(&ToMonitor::Attach { stdin: false }).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    // Nobody reads: the container has to wait.
    assert!(!place.path("root/tmp/late").exists());
    drop(dead);
    let seen = watch(monitor.channel());
    let expected = numbers(2_000_000);
    assert!(seen.text() == expected);
    assert_eq!(seen.status(), ExitStatus::Code(0));
}

#[test]
fn the_exit_is_written_down_while_a_client_still_has_to_read() {
    let place = Place::new();
    let (monitor, _) = Monitor::start(&place.job("seq 1 100000"));
    eventually("the exit is recorded", || place.exit_record().is_some());
    let seen = watch(monitor.channel());
    assert_eq!(seen.text().lines().count(), 100_000);
    assert_eq!(seen.status(), ExitStatus::Code(0));
}

#[test]
fn restarts_as_the_policy_says_and_stops_when_told() {
    let place = Place::new();
    let mut job = place.job("echo run >> /tmp/runs; exit 4");
    job.restart = RestartPolicy::OnFailure { at_most: Some(2) };
    let (monitor, first) = Monitor::start(&job);
    let seen = watch(monitor.channel());
    assert_eq!(seen.status(), ExitStatus::Code(4));
    assert_eq!(seen.exit.unwrap().restarts, 2);
    let facts = place.facts();
    assert_eq!(facts.restarts, 2);
    assert_ne!(facts.sandbox.unwrap().init, first);
    let runs = std::fs::read_to_string(place.path("root/tmp/runs")).unwrap();
    assert_eq!(runs, "run\n".repeat(3));

    let place = Place::new();
    let mut job = place.job("echo up; sleep 100");
    job.restart = RestartPolicy::Always;
    let (monitor, _) = Monitor::start(&job);
    watch_for(monitor.channel(), "up");
    monitor.send(&ToMonitor::Signal(9));
    // It is up once more.
    watch_for(monitor.channel(), "up");
    monitor.send(&ToMonitor::StopRequested);
    eventually("the stop is noted", || place.facts().stop_requested);
    monitor.send(&ToMonitor::Signal(9));
    assert_eq!(watch(monitor.channel()).status(), ExitStatus::Signal(9));
}

#[test]
fn logs_rotate_and_lose_nothing() {
    let place = Place::new();
    let mut job = place.job("seq 1 20000");
    job.log = LogTarget::JsonFile {
        path: place.path("log"),
        max_size: 100_000,
        max_files: 900,
        attributes: std::collections::BTreeMap::new(),
    };
    let (monitor, _) = Monitor::start(&job);
    watch(monitor.channel());
    let expected = numbers(20_000);
    assert!(place.log("stdout") == expected);
    assert!(place.path("log.5").exists());
    let size = std::fs::metadata(place.path("log.1")).unwrap().len();
    assert!((100_000..101_000).contains(&size), "{size}");
}

#[test]
fn a_killed_monitor_takes_the_container_along() {
    let place = Place::new();
    let (monitor, init) = Monitor::start(&place.job("echo up; sleep 100"));
    watch_for(monitor.channel(), "up");
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        monitor.kill(signal);
    }
    std::thread::sleep(Duration::from_millis(100));
    assert!(is_running(init.pid) && is_running(monitor.pid));
    monitor.kill(Signal::KILL);
    eventually("the container dies", || !is_running(init.pid));
    assert_eq!(place.exit_record(), None);
}

#[test]
fn the_exit_of_a_process_on_a_full_disk_is_told_all_the_same() {
    let place = Place::new();
    let mut job = place.job("exit 5");
    job.exit_record = Some("/nowhere/exit.json".into());
    let (monitor, _) = Monitor::start(&job);
    let seen = watch(monitor.channel());
    assert_eq!(seen.status(), ExitStatus::Code(5));
    let error = seen.exit.unwrap().error.unwrap();
    assert!(
        error.to_string().starts_with("keep the exit status"),
        "{error}"
    );
}

#[test]
fn a_process_is_added_with_streams_of_its_own() {
    let place = Place::new();
    let (monitor, init) = Monitor::start(&place.job("echo up; sleep 100"));
    watch_for(monitor.channel(), "up");
    let exec = |script: &str| {
        let mut job = place.job("");
        job.work = Work::Exec(Box::new(ExecSpec {
            target: init,
            cgroup: format!("/wharf/{}", place.id),
            process: Process {
                args: vec!["/bin/sh".into(), "-c".into(), script.into()],
                env: vec!["PATH=/bin".into()],
                cwd: "/".into(),
                ..Process::default()
            },
            seccomp: SeccompProfile::Unconfined,
            user: String::new(),
            groups: Vec::new(),
        }));
        job.run_dir = std::path::PathBuf::new();
        job.exit_record = None;
        job.log = LogTarget::None;
        job.on_exit = Vec::new();
        job
    };
    let mut job = exec("cat; echo more >&2; exit 6");
    job.stdin = StdinMode::Once;
    let (session, _) = Monitor::start(&job);
    session.channel().send_data(Stream::Stdin, b"in\n").unwrap();
    session.channel().send_stdin_end().unwrap();
    let seen = watch(session.channel());
    assert_eq!(
        (seen.text().as_str(), seen.stderr.as_slice()),
        ("in\n", b"more\n".as_slice())
    );
    assert_eq!(seen.status(), ExitStatus::Code(6));
    session.wait();

    // Somebody left behind keeps the pipe, and does not keep us.
    let began = Instant::now();
    let (session, _) = Monitor::start(&exec("sleep 50 & echo started"));
    let seen = watch(session.channel());
    assert_eq!(seen.text(), "started\n");
    assert!(began.elapsed() < Duration::from_secs(30));
    session.wait();

    assert!(is_running(init.pid));
    assert_eq!(place.log("stdout"), "up\n");
    monitor.send(&ToMonitor::Signal(9));
    watch(monitor.channel());
}

/// What CVE-2019-5736 did: keep a way to the file, and write to it once
/// nobody runs it any more.
#[test]
fn our_program_cannot_be_overwritten() {
    let place = Place::new();
    let (monitor, _) = Monitor::start(&place.job("echo up; sleep 100"));
    watch_for(monitor.channel(), "up");
    let way = rustix::fs::open(
        format!("/proc/{}/exe", monitor.pid),
        rustix::fs::OFlags::PATH,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    monitor.send(&ToMonitor::Signal(9));
    watch(monitor.channel());
    monitor.wait();
    let way = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&way));
    // Not by opening it: while other tests run the same file it is "busy".
    let errno = rustix::fs::access(&way, rustix::fs::Access::WRITE_OK).unwrap_err();
    assert_eq!(errno, rustix::io::Errno::ROFS);
    let permissions = std::fs::metadata(&way).unwrap().permissions();
    let error = std::fs::set_permissions(&way, permissions).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(std::fs::read(way).unwrap().starts_with(b"\x7fELF"));
}

#[test]
fn ports_stay_bound_for_the_life_of_the_container() {
    let place = Place::new();
    let mut job = place.job("read line");
    job.stdin = StdinMode::Open;
    roles(&mut job, &[FdRole::Port]);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut monitor = Monitor::launch_with(&job, &[socket.into()]);
    monitor.send(&ToMonitor::Attach { stdin: true });
    monitor.send(&ToMonitor::Go);
    monitor.started().unwrap();
    assert!(std::net::TcpListener::bind(address).is_err());
    monitor.channel().send_data(Stream::Stdin, b"\n").unwrap();
    watch(monitor.channel());
    monitor.leave();
    monitor.wait();
    std::net::TcpListener::bind(address).unwrap();
}

#[test]
fn the_kernels_kill_for_lack_of_memory_is_told() {
    let place = Place::new();
    let mut job = place.job("tail -c 900m /dev/zero");
    let Work::Start(start) = &mut job.work else {
        panic!("not a start");
    };
    start.spec.linux.as_mut().unwrap().resources = Some(Resources {
        memory: Some(Memory {
            limit: Some(16 << 20),
            swap: Some(16 << 20),
            ..Memory::default()
        }),
        ..Resources::default()
    });
    let (monitor, _) = Monitor::start(&job);
    let exit = watch(monitor.channel()).exit.unwrap();
    assert!(exit.out_of_memory, "{exit:?}");
    assert_eq!(exit.status.code(), 137);
}

#[test]
fn a_program_that_closed_its_terminal_may_open_it_again() {
    let place = Place::new();
    let mut job = place.job(
        "exec 3>&1 </dev/null >/dev/null 2>&1; name=/dev/pts/0; exec 3>&-; sleep 1; echo back > $name",
    );
    process(&mut job).terminal = true;
    let (monitor, _) = Monitor::start(&job);
    let seen = watch(monitor.channel());
    assert_eq!(seen.text(), "back\r\n");
    assert_eq!(seen.status(), ExitStatus::Code(0));
}
