//! One file per verb: arguments → engine → output.
//!
//! Start reading at [`VERBS`].

mod attach;
mod attached;
mod boot;
mod check;
mod checkpoint;
mod cleanup;
mod clone;
mod commit;
mod completion;
mod cp;
mod create;
mod df;
mod diff;
mod each;
mod events;
mod exec;
mod export;
mod generate;
mod history;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod layers;
mod load;
mod login;
mod logout;
mod logs;
mod man;
mod network;
mod oci;
mod pack_log;
mod partial;
mod pause;
mod port;
mod ports;
mod prune;
mod ps;
mod pull;
mod push;
mod rename;
mod repair;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod snapshot;
mod start;
mod stats;
mod stop;
mod storage;
mod suspend;
mod tag;
mod template;
mod top;
mod update;
mod version;
mod volume;
mod wait;

use std::ffi::OsString;
use std::str::FromStr;

use clap::{ArgMatches, Command};
use engine::Engine;
use sys::{Error, Result};

use crate::args::Given as _;
use crate::args::root::Global;
use crate::args::{
    checkpoint as checkpoint_args, clone as clone_args, container, image, network as network_args,
    run as run_args, snapshot as snapshot_args, system, volume as volume_args,
};
use crate::environment;
use crate::errors::Codes;
use crate::timings::Timings;

/// One verb: how it is written and what it does.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) define: fn(Command) -> Command,
    /// Gives the exit code.
    pub(crate) run: fn(&Call<'_>) -> Result<u8>,
    pub(crate) codes: Codes,
    /// Shown first in the help.
    pub(crate) common: bool,
    pub(crate) hidden: bool,
}

/// A noun whose verbs can be written after it: `wharf image ls`.
pub(crate) struct Noun {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) hidden: bool,
    /// Name, other names, verb.
    pub(crate) verbs: &'static [(&'static str, &'static [&'static str], Verb)],
}

/// A verb that was called.
pub(crate) struct Call<'a> {
    pub(crate) global: Global,
    pub(crate) given: &'a ArgMatches,
    pub(crate) timings: Timings,
}

impl Call<'_> {
    pub(crate) fn engine(&self) -> Result<Engine> {
        let engine = environment::engine(&self.global)?;
        self.timings.done("open the store");
        Ok(engine)
    }

    /// What `--filter` was given.
    pub(crate) fn filters<T: FromStr<Err = Error>>(&self) -> Result<Vec<T>> {
        let texts = self.given.texts("filter");
        texts.into_iter().map(str::parse).collect()
    }
}

/// Exit code of what went well.
pub(crate) const DONE: u8 = 0;
/// Exit code when some of several acts failed, each told already.
pub(crate) const FAILED: u8 = 1;

macro_rules! verb {
    ($name:literal, $about:literal, $define:path, $run:path $(, $key:ident: $value:expr)*) => {{
        #[allow(unused_mut)]
        let mut verb = Verb {
            name: $name,
            about: $about,
            define: $define,
            run: $run,
            codes: Codes::Plain,
            common: false,
            hidden: false,
        };
        $(verb.$key = $value;)*
        verb
    }};
}

const ATTACH: Verb = verb!(
    "attach",
    "Take part in a running container",
    container::attach,
    attach::run
);
const COMMIT: Verb = verb!(
    "commit",
    "Make an image of a container's changes",
    container::commit,
    commit::run
);
const CREATE: Verb =
    verb!("create", "Create a container", run_args::create, create::run, codes: Codes::Container);
const DIFF: Verb = verb!(
    "diff",
    "Show what a container changed in its files",
    container::diff,
    diff::run
);
const EXEC: Verb = verb!("exec", "Execute a command in a running container", container::exec, exec::run, codes: Codes::Session, common: true);
const IMAGES: Verb = verb!("images", "List images", image::images, images::run, common: true);
const INFO: Verb =
    verb!("info", "Show what there is on this host", system::info, info::run, common: true);
const INSPECT: Verb = verb!(
    "inspect",
    "Show everything about containers and images",
    container::inspect,
    inspect::run
);
const KILL: Verb = verb!(
    "kill",
    "Send a signal to running containers",
    container::kill,
    kill::run
);
const LOGIN: Verb = verb!("login", "Log in to a registry", image::login, login::run, common: true);
const LOGOUT: Verb =
    verb!("logout", "Log out from a registry", image::logout, logout::run, common: true);
const LOGS: Verb = verb!(
    "logs",
    "Show what a container has printed",
    container::logs,
    logs::run
);
const PS: Verb = verb!("ps", "List containers", container::ps, ps::run, common: true);
const PULL: Verb =
    verb!("pull", "Download an image from a registry", image::pull, pull::run, common: true);
const PUSH: Verb =
    verb!("push", "Upload an image to a registry", image::push, push::run, common: true);
const CLONE: Verb = verb!(
    "clone",
    "Make copies of a running container, which go on where it is",
    clone_args::clone,
    clone::run,
    codes: Codes::Container
);
const CP: Verb = verb!(
    "cp",
    "Copy files between a container and the host",
    container::cp,
    cp::run
);
const EXPORT: Verb = verb!(
    "export",
    "Write a container's files to a tar archive",
    container::export,
    export::run
);
const EVENTS: Verb = verb!(
    "events",
    "Show what happens, or what has happened",
    system::events,
    events::run
);
const HISTORY: Verb = verb!(
    "history",
    "Show how an image was made",
    image::history,
    history::run
);
const PAUSE: Verb = verb!(
    "pause",
    "Let containers stand still",
    container::pause,
    pause::pause
);
const UNPAUSE: Verb = verb!(
    "unpause",
    "Let containers go on that stand still",
    container::pause,
    pause::unpause
);
const SUSPEND: Verb = verb!(
    "suspend",
    "Take containers with their memory to the disk",
    container::suspend,
    suspend::suspend
);
const RESUME: Verb = verb!(
    "resume",
    "Let suspended containers go on where they were",
    container::pause,
    suspend::resume
);
const RESTORE: Verb = verb!(
    "restore",
    "Let one more container go on from a checkpoint",
    checkpoint_args::restore,
    checkpoint::restore,
    codes: Codes::Container
);
const PORT: Verb = verb!(
    "port",
    "Show the published ports of a container",
    container::port,
    port::run
);
const PORTS: Verb = verb!(
    "ports",
    "Show all published ports and who can reach them",
    network_args::ports,
    ports::run
);
const RENAME: Verb = verb!(
    "rename",
    "Give a container another name",
    container::rename,
    rename::run
);
const RESTART: Verb = verb!(
    "restart",
    "Stop containers and start them again",
    container::restart,
    restart::run
);
const STATS: Verb = verb!(
    "stats",
    "Show what containers use, as it changes",
    container::stats,
    stats::run
);
const TOP: Verb = verb!(
    "top",
    "Show the processes of a container",
    container::top,
    top::run
);
const UPDATE: Verb = verb!(
    "update",
    "Change limits, policy, environment, ports and mounts of containers",
    container::update,
    update::run
);
const RECREATE: Verb = verb!(
    "recreate",
    "Change containers and start them again, with their files",
    container::recreate,
    update::recreate
);
const RM: Verb = verb!("rm", "Remove containers", container::rm, rm::run);
const RMI: Verb = verb!("rmi", "Remove images", image::rmi, rmi::run);
const RUN: Verb = verb!("run", "Create and run a new container from an image", run_args::run, run::run, codes: Codes::Container, common: true);
const START: Verb = verb!(
    "start",
    "Start stopped containers",
    container::start,
    start::run
);
const STOP: Verb = verb!(
    "stop",
    "Stop running containers",
    container::stop,
    stop::run
);
const TAG: Verb = verb!("tag", "Give an image one more name", image::tag, tag::run);
const VERSION: Verb =
    verb!("version", "Show the version", system::version, version::run, common: true);
const WAIT: Verb = verb!(
    "wait",
    "Wait until containers stop, then print their exit codes",
    container::wait,
    wait::run
);
const COMPLETION: Verb = verb!(
    "completion",
    "Print the completion script for a shell",
    system::completion,
    completion::run
);
const OCI: Verb = verb!(
    "oci",
    "Use the OCI runtime (wharf-runtime)",
    system::oci,
    oci::run
);

const IMPORT: Verb = verb!(
    "import",
    "Make an image of a tar archive of files",
    image::import,
    import::run
);
const LOAD: Verb = verb!(
    "load",
    "Load images from an archive",
    image::load,
    load::run
);
const SAVE: Verb = verb!("save", "Save images to an archive", image::save, save::run);

/// Every verb that can be written alone, in the order of the help.
pub(crate) const VERBS: &[Verb] = &[
    RUN, EXEC, PS, PULL, PUSH, IMAGES, LOGIN, LOGOUT, VERSION, INFO, ATTACH, CLONE, COMMIT,
    COMPLETION, CP, CREATE, DIFF, EVENTS, EXPORT, HISTORY, IMPORT, INSPECT, KILL, LOAD, LOGS, OCI,
    PAUSE, PORT, PORTS, RECREATE, RENAME, RESTART, RESTORE, RESUME, RM, RMI, SAVE, START, STATS,
    STOP, SUSPEND, TAG, TOP, UNPAUSE, UPDATE, WAIT,
];

pub(crate) const NOUNS: &[Noun] = &[
    Noun {
        name: "checkpoint",
        about: "Keep containers with their memory",
        hidden: false,
        verbs: &[
            (
                "create",
                &[],
                verb!(
                    "create",
                    "Write a container with its memory down under a name",
                    checkpoint_args::create,
                    checkpoint::create
                ),
            ),
            (
                "export",
                &[],
                verb!(
                    "export",
                    "Write a checkpoint to one file",
                    checkpoint_args::export,
                    checkpoint::export
                ),
            ),
            (
                "import",
                &[],
                verb!(
                    "import",
                    "Take a checkpoint in from a file",
                    checkpoint_args::import,
                    checkpoint::import
                ),
            ),
            (
                "inspect",
                &[],
                verb!(
                    "inspect",
                    "Show everything about checkpoints",
                    checkpoint_args::inspect,
                    checkpoint::inspect
                ),
            ),
            (
                "ls",
                &["list"],
                verb!(
                    "ls",
                    "List checkpoints",
                    checkpoint_args::ls,
                    checkpoint::ls
                ),
            ),
            (
                "rm",
                &["remove"],
                verb!(
                    "rm",
                    "Remove checkpoints",
                    checkpoint_args::rm,
                    checkpoint::rm
                ),
            ),
        ],
    },
    Noun {
        name: "container",
        about: "Manage containers",
        hidden: false,
        verbs: &[
            ("attach", &[], ATTACH),
            ("clone", &[], CLONE),
            ("commit", &[], COMMIT),
            ("cp", &[], CP),
            ("create", &[], CREATE),
            ("diff", &[], DIFF),
            ("exec", &[], EXEC),
            ("export", &[], EXPORT),
            (
                "inspect",
                &[],
                verb!(
                    "inspect",
                    "Show everything about containers",
                    container::inspect_container,
                    inspect::containers
                ),
            ),
            ("kill", &[], KILL),
            ("logs", &[], LOGS),
            ("ls", &["ps", "list"], PS),
            ("pause", &[], PAUSE),
            ("port", &[], PORT),
            (
                "prune",
                &[],
                verb!(
                    "prune",
                    "Remove all containers that do not run",
                    container::prune,
                    prune::containers
                ),
            ),
            ("recreate", &[], RECREATE),
            ("rename", &[], RENAME),
            ("restart", &[], RESTART),
            ("restore", &[], RESTORE),
            ("resume", &[], RESUME),
            ("rm", &["remove"], RM),
            ("run", &[], RUN),
            ("start", &[], START),
            ("stats", &[], STATS),
            ("stop", &[], STOP),
            ("suspend", &[], SUSPEND),
            ("top", &[], TOP),
            ("unpause", &[], UNPAUSE),
            ("update", &[], UPDATE),
            ("wait", &[], WAIT),
        ],
    },
    Noun {
        name: "image",
        about: "Manage images",
        hidden: false,
        verbs: &[
            ("history", &[], HISTORY),
            ("import", &[], IMPORT),
            ("load", &[], LOAD),
            ("save", &[], SAVE),
            (
                "inspect",
                &[],
                verb!(
                    "inspect",
                    "Show everything about images",
                    image::inspect,
                    inspect::images
                ),
            ),
            (
                "diff",
                &[],
                verb!(
                    "diff",
                    "Show in which files two images differ",
                    image::diff,
                    layers::diff
                ),
            ),
            (
                "explore",
                &[],
                verb!(
                    "explore",
                    "Show what each layer of an image added",
                    image::explore,
                    layers::explore
                ),
            ),
            ("ls", &["list"], IMAGES),
            (
                "rebase",
                &[],
                verb!(
                    "rebase",
                    "Put an image's own layers on another base",
                    image::rebase,
                    layers::rebase
                ),
            ),
            (
                "squash",
                &[],
                verb!(
                    "squash",
                    "Make one layer of all that an image has",
                    image::squash,
                    layers::squash
                ),
            ),
            (
                "tree",
                &[],
                verb!(
                    "tree",
                    "Show which image stands on which",
                    image::tree,
                    layers::tree
                ),
            ),
            (
                "prune",
                &[],
                verb!(
                    "prune",
                    "Remove images that nothing uses",
                    image::prune,
                    prune::images
                ),
            ),
            ("pull", &[], PULL),
            ("push", &[], PUSH),
            ("rm", &["remove"], RMI),
            ("tag", &[], TAG),
        ],
    },
    Noun {
        name: "system",
        about: "Manage Wharf",
        hidden: false,
        verbs: &[
            (
                "boot",
                &[],
                verb!(
                    "boot",
                    "Start what should run after the host came up",
                    system::boot,
                    boot::boot
                ),
            ),
            (
                "check",
                &[],
                verb!(
                    "check",
                    "Prove that every file has an owner and every claim is backed",
                    system::check,
                    check::run
                ),
            ),
            (
                "df",
                &[],
                verb!(
                    "df",
                    "Show what is on the disk, and what could go",
                    system::df,
                    df::run
                ),
            ),
            ("events", &[], EVENTS),
            (
                "halt",
                &[],
                verb!(
                    "halt",
                    "Stop everything before the host goes down; boot starts it again",
                    system::boot,
                    boot::halt
                ),
            ),
            ("info", &[], INFO),
            (
                "install",
                &[],
                verb!(
                    "install",
                    "Write the unit that runs boot and halt with the host",
                    system::install,
                    boot::install
                ),
            ),
            (
                "prune",
                &[],
                verb!(
                    "prune",
                    "Remove containers and images that nothing uses",
                    system::prune,
                    prune::system
                ),
            ),
            (
                "repair",
                &[],
                verb!(
                    "repair",
                    "Look at everything and heal what crashes left",
                    system::repair,
                    repair::run
                ),
            ),
            (
                "reset",
                &[],
                verb!(
                    "reset",
                    "Remove everything that was made, containers that run too",
                    system::reset,
                    prune::reset
                ),
            ),
            (
                "storage",
                &[],
                verb!(
                    "storage",
                    "Put the store on a file system with reflinks, in a file",
                    system::storage,
                    storage::run
                ),
            ),
        ],
    },
    Noun {
        name: "generate",
        about: "Write what other programs need to run a container",
        hidden: false,
        verbs: &[
            (
                "kube",
                &[],
                verb!(
                    "kube",
                    "Print a container as a pod of Kubernetes",
                    system::generate,
                    generate::kube
                ),
            ),
            (
                "systemd",
                &[],
                verb!(
                    "systemd",
                    "Print a unit of systemd that runs a container",
                    system::generate,
                    generate::systemd
                ),
            ),
        ],
    },
    Noun {
        name: "snapshot",
        about: "Manage snapshots of containers' files",
        hidden: false,
        verbs: &[
            (
                "create",
                &[],
                verb!(
                    "create",
                    "Keep a container's files as they are",
                    snapshot_args::create,
                    snapshot::create
                ),
            ),
            (
                "diff",
                &[],
                verb!(
                    "diff",
                    "Show what changed since a snapshot",
                    snapshot_args::diff,
                    snapshot::diff
                ),
            ),
            (
                "ls",
                &["list"],
                verb!(
                    "ls",
                    "List snapshots of a container",
                    snapshot_args::ls,
                    snapshot::ls
                ),
            ),
            (
                "restore",
                &[],
                verb!(
                    "restore",
                    "Go back to a snapshot",
                    snapshot_args::restore,
                    snapshot::restore
                ),
            ),
            (
                "rm",
                &["remove"],
                verb!(
                    "rm",
                    "Remove snapshots of a container",
                    snapshot_args::rm,
                    snapshot::rm
                ),
            ),
        ],
    },
    Noun {
        name: "template",
        about: "Manage what clones are made of",
        hidden: false,
        verbs: &[
            (
                "inspect",
                &[],
                verb!(
                    "inspect",
                    "Show everything about templates",
                    clone_args::template_inspect,
                    template::inspect
                ),
            ),
            (
                "ls",
                &["list"],
                verb!(
                    "ls",
                    "List templates",
                    clone_args::template_ls,
                    template::ls
                ),
            ),
            (
                "rm",
                &["remove"],
                verb!(
                    "rm",
                    "Remove templates; their clones stay",
                    clone_args::template_rm,
                    template::rm
                ),
            ),
        ],
    },
    Noun {
        name: "volume",
        about: "Manage volumes",
        hidden: false,
        verbs: &[
            (
                "clone",
                &[],
                verb!(
                    "clone",
                    "Make a volume with the files of another one",
                    volume_args::clone,
                    volume::clone
                ),
            ),
            (
                "create",
                &[],
                verb!(
                    "create",
                    "Create a volume",
                    volume_args::create,
                    volume::create
                ),
            ),
            (
                "export",
                &[],
                verb!(
                    "export",
                    "Write a volume's files to a tar archive",
                    volume_args::export,
                    volume::export
                ),
            ),
            (
                "import",
                &[],
                verb!(
                    "import",
                    "Make a volume of a tar archive",
                    volume_args::import,
                    volume::import
                ),
            ),
            (
                "inspect",
                &[],
                verb!(
                    "inspect",
                    "Show everything about volumes",
                    volume_args::inspect,
                    inspect::volumes
                ),
            ),
            (
                "ls",
                &["list"],
                verb!("ls", "List volumes", volume_args::ls, volume::ls),
            ),
            (
                "prune",
                &[],
                verb!(
                    "prune",
                    "Remove anonymous volumes that no container has",
                    volume_args::prune,
                    prune::volumes
                ),
            ),
            (
                "rm",
                &["remove"],
                verb!("rm", "Remove volumes", volume_args::rm, volume::rm),
            ),
        ],
    },
    Noun {
        name: "network",
        about: "Manage networks",
        hidden: false,
        verbs: &[
            (
                "connect",
                &[],
                verb!(
                    "connect",
                    "Put a container on a network",
                    network_args::connect,
                    network::connect
                ),
            ),
            (
                "create",
                &[],
                verb!(
                    "create",
                    "Create a network",
                    network_args::create,
                    network::create
                ),
            ),
            (
                "disconnect",
                &[],
                verb!(
                    "disconnect",
                    "Take a container off a network",
                    network_args::disconnect,
                    network::disconnect
                ),
            ),
            (
                "inspect",
                &[],
                verb!(
                    "inspect",
                    "Show everything about networks",
                    network_args::inspect,
                    inspect::networks
                ),
            ),
            (
                "ls",
                &["list"],
                verb!("ls", "List networks", network_args::ls, network::ls),
            ),
            (
                "prune",
                &[],
                verb!(
                    "prune",
                    "Remove networks that no container has",
                    network_args::prune,
                    prune::networks
                ),
            ),
            (
                "rm",
                &["remove"],
                verb!("rm", "Remove networks", network_args::rm, network::rm),
            ),
        ],
    },
    Noun {
        name: "internal",
        about: "What Wharf's own programs call",
        hidden: true,
        verbs: &[
            (
                "cleanup",
                &[],
                verb!(
                    "cleanup",
                    "Clean up after a container's end",
                    system::cleanup,
                    cleanup::run
                ),
            ),
            (
                "pack-log",
                &[],
                verb!(
                    "pack-log",
                    "Compress a full file of a log",
                    system::pack_log,
                    pack_log::run
                ),
            ),
            (
                "man",
                &[],
                verb!(
                    "man",
                    "Write manual pages to a directory",
                    system::man,
                    man::run
                ),
            ),
        ],
    },
];

/// The verb that was called, and its arguments.
pub(crate) fn called(given: &ArgMatches) -> Option<(&'static Verb, &ArgMatches)> {
    let (name, given) = given.subcommand()?;
    if let Some(verb) = VERBS.iter().find(|verb| verb.name == name) {
        return Some((verb, given));
    }
    let noun = NOUNS.iter().find(|noun| noun.name == name)?;
    let (name, given) = given.subcommand()?;
    let (_, _, verb) = noun.verbs.iter().find(|(one, ..)| *one == name)?;
    Some((verb, given))
}

/// The verb that was meant by words which could not be understood, with its
/// name as written.
pub(crate) fn mentioned(words: &[OsString]) -> Option<(String, &'static Verb)> {
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    match words.find_map(known)? {
        Known::Verb(verb) => Some((verb.name.to_owned(), verb)),
        Known::Noun(noun) => {
            let word = words.next()?;
            let found = noun
                .verbs
                .iter()
                .find(|(name, aliases, _)| *name == word || aliases.contains(&word));
            found.map(|(name, _, verb)| (format!("{} {name}", noun.name), verb))
        }
    }
}

/// The noun that was meant by such words.
pub(crate) fn noun(words: &[OsString]) -> Option<&'static Noun> {
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    match words.find_map(known)? {
        Known::Noun(noun) => Some(noun),
        Known::Verb(_) => None,
    }
}

enum Known {
    Noun(&'static Noun),
    Verb(&'static Verb),
}

fn known(word: &str) -> Option<Known> {
    let noun = NOUNS.iter().find(|noun| noun.name == word);
    let verb = || VERBS.iter().find(|verb| verb.name == word);
    noun.map(Known::Noun).or_else(|| verb().map(Known::Verb))
}

/// A name of an image as users write it.
fn reference(text: &str) -> Result<spec::Reference> {
    text.parse().map_err(|error: spec::ParseError| {
        sys::Error::new(sys::ErrorKind::InvalidInput, error.to_string())
    })
}
