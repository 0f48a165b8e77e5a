//! `wharf system boot`, `halt` and `install`: containers and their host.

use std::path::Path;

use state::Layout;
use sys::{Context as _, Result};

use super::{Call, DONE, FAILED};
use crate::args::Given as _;
use crate::{environment, errors, output};

const UNIT: &str = "/etc/systemd/system/wharf.service";

pub(super) fn boot(call: &Call<'_>) -> Result<u8> {
    let mut code = DONE;
    let mut told = Ok(());
    call.engine()?
        .boot_containers(&mut |booted| match booted.result {
            Ok(()) => {
                if told.is_ok() {
                    told = output::print_line(&booted.name);
                }
            }
            Err(error) => {
                let error = error.wrap(format!("start {}", booted.name));
                output::note(&errors::message(&error, call.global.debug));
                code = FAILED;
            }
        })?;
    told.map(|()| code)
}

pub(super) fn halt(call: &Call<'_>) -> Result<u8> {
    call.engine()?.halt_containers()?;
    Ok(DONE)
}

pub(super) fn install(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    let text = unit(&environment::programs()?.wharf, engine.layout());
    if call.given.on("print") {
        output::print(&text)?;
        return Ok(DONE);
    }
    state::record::replace(Path::new(UNIT), text.as_bytes(), state::Durability::Synced)
        .context(|| format!("write {UNIT}"))?;
    output::print_line(&format!(
        "{UNIT} is written: systemctl daemon-reload && systemctl enable --now wharf"
    ))?;
    Ok(DONE)
}

fn unit(program: &Path, layout: &Layout) -> String {
    let mut command = quoted(program);
    if !layout.is_default() {
        for (option, path) in [("--root", layout.root()), ("--runroot", layout.run_root())] {
            command = format!("{command} {option} {}", quoted(path));
        }
    }
    format!(
        "[Unit]\n\
         Description=Containers of Wharf that run with the host\n\
         After=network-online.target local-fs.target\n\
         Wants=network-online.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart={command} system boot\n\
         ExecStop={command} system halt\n\
         # Containers are not of this unit: halt ends them, each in its time.\n\
         KillMode=process\n\
         TimeoutStopSec=infinity\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// As one word of a unit's command (systemd.service).
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let escaped = text
        .replace('%', "%%")
        .replace('$', "$$")
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    if escaped == text && !text.contains(char::is_whitespace) {
        return text;
    }
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_names_program_and_store() {
        let default = Layout::new(Layout::DEFAULT_ROOT, Layout::DEFAULT_RUN_ROOT);
        let text = unit(Path::new("/usr/bin/wharf"), &default);
        assert!(
            text.contains("\nExecStart=/usr/bin/wharf system boot\n"),
            "{text}"
        );
        let text = unit(Path::new("/opt/my $x/wharf"), &Layout::new("/r", "/s"));
        let line = "ExecStop=\"/opt/my $$x/wharf\" --root /r --runroot /s system halt";
        assert!(text.contains(line), "{text}");
    }
}
