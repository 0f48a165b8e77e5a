//! The only place that reads environment variables.

use std::path::PathBuf;

use engine::config::Programs;
use engine::images::CredentialFiles;
use engine::{Config, Engine, Settings};
use state::Layout;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::args::root::Global;

const CONFIG: &str = "/etc/wharf/wharf.toml";

/// A variable of ours, for `-e NAME`.
pub(crate) fn lookup(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// An engine as flags, variables and the configuration file say, in this
/// order: `--root` or WHARF_ROOT, `--runroot` or WHARF_RUNROOT, `--config` or
/// WHARF_CONFIG; WHARF_RUNTIME for the runtime's program.
pub(crate) fn engine(global: &Global) -> Result<Engine> {
    Engine::open(config(global)?)
}

fn config(global: &Global) -> Result<Config> {
    let layout = Layout::new(
        directory(global.root.clone(), "WHARF_ROOT", Layout::DEFAULT_ROOT)?,
        directory(
            global.runroot.clone(),
            "WHARF_RUNROOT",
            Layout::DEFAULT_RUN_ROOT,
        )?,
    );
    let mut config = Config::new(layout, programs()?);
    config.settings = match global.config.clone().or_else(|| path("WHARF_CONFIG")) {
        // One that was named has to be there.
        Some(file) => {
            let text = std::fs::read_to_string(&file)
                .context(|| format!("read configuration {}", file.display()))?;
            Settings::parse(&text).context(|| file.display().to_string())?
        }
        None => Settings::read(CONFIG.as_ref())?,
    };
    config.credentials = credentials();
    config.crash_at = lookup("WHARF_CRASH_AT");
    Ok(config)
}

/// Where the two binaries are.
pub(crate) fn programs() -> Result<Programs> {
    let executable = std::env::current_exe().context(|| "find our own program")?;
    let mut programs = Programs::beside(&executable);
    programs.wharf = executable;
    if let Some(runtime) = path("WHARF_RUNTIME") {
        programs.runtime = runtime;
    }
    Ok(programs)
}

/// Ours is `$WHARF_AUTH_FILE` or `wharf/auth.json` among the user's
/// configurations; Docker's is where Docker has it.
fn credentials() -> CredentialFiles {
    let home = path("HOME");
    let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
    CredentialFiles {
        own: path("WHARF_AUTH_FILE").or_else(|| {
            path("XDG_CONFIG_HOME")
                .or_else(|| below_home(".config"))
                .map(|directory| directory.join("wharf/auth.json"))
        }),
        docker: path("DOCKER_CONFIG")
            .or_else(|| below_home(".docker"))
            .map(|directory| directory.join("config.json")),
        // Found on the search path.
        helpers: Vec::new(),
    }
}

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn directory(given: Option<PathBuf>, variable: &str, default: &str) -> Result<PathBuf> {
    let directory = given
        .or_else(|| path(variable))
        .unwrap_or_else(|| PathBuf::from(default));
    if directory.as_os_str().is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the store's directory has no name",
        ));
    }
    std::path::absolute(&directory).context(|| format!("find {}", directory.display()))
}
