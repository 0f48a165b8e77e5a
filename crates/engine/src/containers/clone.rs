//! `clone`: copies of a running container, which go on where it is.
//!
//! The container is written down as a template while it stands still, then it
//! goes on; the clones are made of the template, several at once. All of them
//! run in the end, or none is left.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use state::template::TEMPLATE_VERSION;
use state::{
    Channel, CloneOf, Connections, ContainerConfig, ContainerId, ContainerName, MountKind,
    NetworkMode, PortRequest, TemplateRecord, Timestamp, ToMonitor,
};
use sys::{Context as _, Error, ErrorKind, Result};

use super::attach::running;
use super::checkpoint::copy_files;
use super::hook::Hook;
use super::pause::ask;
use super::request::RemoveRequest;
use super::resolve::check_hostname;
use super::restore::Saved;
use super::start::{Locked, Origin};
use super::stop::no_such;
use super::{Containers, DumpProgress, observe};
use crate::crash::crash_point;
use crate::templates::Held;
use crate::volumes;

/// More are not made by one call.
const COUNT_MAX: usize = 10_000;

/// So many are made at once: each waits for the kernel more than it computes.
const WORKERS_MAX: usize = 8;

/// Which clones are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneRequest {
    pub count: usize,
    pub names: CloneNames,
    /// In the place of the ports that the container publishes. If absent,
    /// these, on free ports of the host.
    pub ports: Option<Vec<PortRequest>>,
    /// The clone's own id if absent.
    pub hostname: Option<String>,
    /// `--rm`.
    pub auto_remove: bool,
    /// Runs in each by its shell, before its processes go on.
    pub hook: Option<String>,
}

/// How clones are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloneNames {
    Random,
    /// There is one.
    One(ContainerName),
    /// `x-1`, `x-2` …
    Prefix(ContainerName),
}

impl Default for CloneRequest {
    fn default() -> Self {
        Self {
            count: 1,
            names: CloneNames::Random,
            ports: None,
            hostname: None,
            auto_remove: false,
            hook: None,
        }
    }
}

impl Containers<'_> {
    /// Makes clones of a running container, which runs on. They run, or there
    /// are none. `tell` hears how the container is written down.
    pub fn clone_container(
        &self,
        container: &str,
        request: &CloneRequest,
        tell: &dyn Fn(DumpProgress),
    ) -> Result<Vec<ContainerId>> {
        request.check()?;
        self.check_ports(container, request)?;
        let template = self.template_of(container, None, tell)?;
        self.clones_of(&template, request)
    }

    fn check_ports(&self, container: &str, request: &CloneRequest) -> Result<()> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        if request.ports.is_some() && observed.config.network != NetworkMode::Bridge {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("container {container} is on no network on which ports are published"),
            ));
        }
        Ok(())
    }

    /// Writes a running container down.
    fn template_of(
        &self,
        container: &str,
        name: Option<&ContainerName>,
        tell: &dyn Fn(DumpProgress),
    ) -> Result<Held> {
        let id = self.resolve(container)?;
        let locked = Locked::take(self.engine, id)?;
        let channel = running(self.engine, &id, container)?;
        let held = Held::begin(self.engine.layout())?;
        crash_point!(self.engine, "after template directory");
        locked
            .fill_template(&channel, &held, name, tell)
            .context(|| format!("container {container}"))?;
        Ok(held)
    }

    fn clones_of(&self, template: &Held, request: &CloneRequest) -> Result<Vec<ContainerId>> {
        let record = template.record()?;
        let ids = (0..request.count)
            .map(|_| ContainerId::random())
            .collect::<Result<Vec<_>>>()?;
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let outcomes: Mutex<Vec<(ContainerId, Result<()>)>> = Mutex::new(Vec::new());
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(id) = ids.get(number) else {
                    return;
                };
                let made = self.one_clone(template, &record, (*id, number), request);
                failed.fetch_or(made.is_err(), Ordering::Relaxed);
                outcomes
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push((*id, made));
            }
        };
        std::thread::scope(|scope| {
            // The first works here.
            for _ in 1..WORKERS_MAX.min(request.count) {
                scope.spawn(work);
            }
            work();
        });
        let outcomes = outcomes
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.all_or_none(ids, outcomes)
    }

    /// If one failed, those that run already are removed again.
    fn all_or_none(
        &self,
        ids: Vec<ContainerId>,
        outcomes: Vec<(ContainerId, Result<()>)>,
    ) -> Result<Vec<ContainerId>> {
        let mut made = Vec::new();
        let mut failure: Option<Error> = None;
        for (id, outcome) in outcomes {
            match outcome {
                Ok(()) => made.push(id),
                Err(error) if failure.is_none() => failure = Some(error),
                Err(_) => {}
            }
        }
        let Some(mut failure) = failure else {
            return Ok(ids);
        };
        for id in made {
            if let Err(second) = self.remove_made(&id) {
                failure = failure.wrap(format!("and a removal failed ({second})"));
            }
        }
        Err(failure)
    }

    fn one_clone(
        &self,
        template: &Held,
        record: &TemplateRecord,
        (id, number): (ContainerId, usize),
        request: &CloneRequest,
    ) -> Result<()> {
        let name = request.names.of(number)?;
        let parent = &record.config;
        let place = template.path().join("volumes");
        let volumes: BTreeMap<_, _> = record
            .volumes
            .iter()
            .enumerate()
            .map(|(number, name)| (name.clone(), place.join(number.to_string())))
            .collect();
        let change = |config: &mut ContainerConfig| {
            request.apply(config);
            config.clone_of = Some(CloneOf {
                template: *template.id(),
                parent: parent.id,
                parent_name: parent.name.clone(),
            });
        };
        let saved = Saved {
            config: parent,
            layer: None,
            volumes,
            change: &change,
            origin: ("clone", parent.name.to_string()),
        };
        template.add_user(&id)?;
        let created = self.create_saved(&saved, (id, name.as_ref()));
        if let Err(error) = created {
            // The template is ours, so nobody takes it away meanwhile.
            crate::templates::release(self.engine.layout(), template.id(), &id)?;
            return Err(error);
        }
        crash_point!(self.engine, "after create");
        let name = self.engine.layout().container_config(&id);
        let config: ContainerConfig = state::Record::read(&name)?;
        let origin = Origin::Memory {
            directory: template.memory(),
            record: None,
            hook: request.hook.as_ref().map(|command| Hook {
                command: command.clone(),
                env: vec![
                    format!("WHARF_CLONE={}", config.name),
                    format!("WHARF_CLONE_NUMBER={}", number + 1),
                ],
            }),
        };
        let started = Locked::take(self.engine, id)
            .and_then(|locked| locked.start_from(&origin, None).map(drop));
        if let Err(error) = started {
            return Err(match self.remove_made(&id) {
                Err(second) => error.wrap(format!("and its removal failed ({second})")),
                Ok(()) => error,
            });
        }
        Ok(())
    }

    /// Takes away what was just made.
    pub(super) fn remove_made(&self, id: &ContainerId) -> Result<()> {
        let remove = RemoveRequest {
            force: true,
            volumes: true,
        };
        match self.remove(&id.to_string(), remove) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl CloneRequest {
    fn check(&self) -> Result<()> {
        let invalid = |why: &str| Err(Error::new(ErrorKind::InvalidInput, why));
        if !(1..=COUNT_MAX).contains(&self.count) {
            return invalid("the number of clones is from 1 to 10000");
        }
        if let Some(name) = &self.hostname {
            check_hostname(name)?;
        }
        if self.count == 1 {
            return Ok(());
        }
        if matches!(self.names, CloneNames::One(_)) {
            return invalid("a name is for one clone: several are called with --name-prefix");
        }
        if self.hostname.is_some() {
            return invalid("a host name is for one clone: several are called by their ids");
        }
        let is_fixed = |port: &PortRequest| {
            let fixed = |host: state::PortRange| host.count() <= port.container.count();
            port.host.is_some_and(fixed)
        };
        if self.ports.iter().flatten().any(is_fixed) {
            return invalid(
                "several clones cannot have the same port of the host: name the container's port \
                 alone (-p 80), and each gets a free one",
            );
        }
        Ok(())
    }

    /// What is another one's in a clone than in the container.
    fn apply(&self, config: &mut ContainerConfig) {
        config.auto_remove = self.auto_remove;
        match &self.ports {
            Some(ports) => {
                config.ports.clone_from(ports);
                config.publish_all = false;
            }
            None => {
                for port in &mut config.ports {
                    port.host = None;
                }
            }
        }
        for endpoint in config.endpoints.iter_mut().flatten() {
            // Who asks for these means the container.
            endpoint.aliases.clear();
        }
        let has_own = !config.namespaces.uts_of_host
            && matches!(config.network, NetworkMode::Bridge | NetworkMode::None);
        if let Some(name) = &self.hostname {
            config.hostname.clone_from(name);
        } else if has_own {
            config.hostname = config.id.short();
        }
    }
}

impl CloneNames {
    /// Of the clone with this number, from 0 on.
    fn of(&self, number: usize) -> Result<Option<ContainerName>> {
        match self {
            Self::Random => Ok(None),
            Self::One(name) => Ok(Some(name.clone())),
            Self::Prefix(prefix) => format!("{prefix}-{}", number + 1).parse().map(Some),
        }
    }
}

impl Locked<'_> {
    fn fill_template(
        self,
        monitor: &Channel,
        held: &Held,
        name: Option<&ContainerName>,
        tell: &dyn Fn(DumpProgress),
    ) -> Result<()> {
        let engine = self.engine;
        let config = &self.observed.config;
        let volumes = own_volumes(engine, config)?;
        let names: Vec<&str> = volumes.iter().map(String::as_str).collect();
        ask(monitor, &ToMonitor::Hold, &[])?;
        let written = self.write_down(&held.memory(), Connections::Close, tell);
        let (dumper, memory) = match written {
            Ok(written) => written,
            Err(error) => {
                ask(monitor, &ToMonitor::Release, &[])?;
                return Err(error);
            }
        };
        crash_point!(engine, "after dump");
        // While nothing of it moves, so that files and memory are of one moment.
        let files = copy_files(engine, config, &names, &held.path());
        let gone_on = dumper.let_go();
        ask(monitor, &ToMonitor::Release, &[])?;
        let files = files?;
        gone_on?;
        crash_point!(engine, "after files");
        held.complete(&TemplateRecord {
            version: TEMPLATE_VERSION,
            created: Timestamp::now(),
            name: name.cloned(),
            config: Box::new(config.clone()),
            memory,
            volumes,
            files,
        })?;
        engine.tell(config, "clone", &[]);
        Ok(())
    }
}

/// The volumes of which a clone gets copies, each once: all that are
/// directories of the store's own.
fn own_volumes(engine: &crate::Engine, config: &ContainerConfig) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for mount in &config.mounts {
        if let MountKind::Volume(volume) = &mount.kind
            && volumes::is_own(engine.layout(), &volume.name)?
            && !names.contains(&volume.name)
        {
            names.push(volume.name.clone());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(texts: &[&str]) -> Vec<PortRequest> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn several_clones_share_no_name_and_no_port() {
        let several = CloneRequest {
            count: 2,
            ..CloneRequest::default()
        };
        let wrong = |request: &CloneRequest| request.check().unwrap_err().to_string();
        several.check().unwrap();
        let with_ports = |texts: &[&str]| CloneRequest {
            ports: Some(ports(texts)),
            ..several.clone()
        };
        with_ports(&["80", "8000-8009:80"]).check().unwrap();
        assert!(wrong(&with_ports(&["8080:80"])).contains("same port of the host"));
        let named = CloneRequest {
            names: CloneNames::One("x".parse().unwrap()),
            ..several.clone()
        };
        assert!(wrong(&named).contains("--name-prefix"));
        let called = CloneRequest {
            hostname: Some("db".into()),
            ..several
        };
        assert!(wrong(&called).contains("host name is for one"));
        for count in [0, 10_001] {
            let request = CloneRequest {
                count,
                ..CloneRequest::default()
            };
            assert!(wrong(&request).contains("from 1 to"));
        }
    }

    #[test]
    fn a_clone_is_called_by_its_own_id_and_takes_nobodys_ports() {
        let mut config = crate::containers::test_config();
        config.ports = ports(&["127.0.0.1:8080:80"]);
        CloneRequest::default().apply(&mut config);
        assert_eq!(config.hostname, config.id.short());
        assert_eq!(config.ports, ports(&["127.0.0.1::80"]));
        config.hostname = "host".into();
        config.network = NetworkMode::Host;
        CloneRequest::default().apply(&mut config);
        assert_eq!(config.hostname, "host");
    }
}
