//! `generate`: what other programs need to run a container as it is here. Pure
//! functions of its configuration.

use std::path::Path;

use serde_json::{Map, Value, json};
use state::{
    ContainerConfig, IpcMode, MountKind, NetworkMode, PidMode, PortRange, Protocol, RestartPolicy,
};
use sys::Result;

use super::stop::no_such;
use super::{Containers, observe};

impl Containers<'_> {
    /// A unit of systemd that starts and stops this container; it names no
    /// image and no option, as the container has them.
    pub fn generate_systemd(&self, container: &str) -> Result<String> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        let config = self.engine.config();
        let layout = self.engine.layout();
        let command = [
            config.programs.wharf.as_path(),
            Path::new("--root"),
            layout.root(),
            Path::new("--runroot"),
            layout.run_root(),
        ];
        let command: Vec<String> = command
            .iter()
            .map(|word| quoted(&word.to_string_lossy()))
            .collect();
        Ok(unit(&observed.config, &command.join(" ")))
    }

    /// A pod of Kubernetes with this one container.
    pub fn generate_kube(&self, container: &str) -> Result<Value> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        Ok(pod(&observed.config))
    }
}

/// As one word of a unit's command line (systemd.service(5), quoting).
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%").replace('$', "$$");
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+%$:@=".contains(letter);
    if word.chars().all(plain) && !word.is_empty() {
        return word;
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

fn unit(config: &ContainerConfig, wharf: &str) -> String {
    let name = &config.name;
    // The monitor would start it again while systemd does: one of them.
    let restart = match config.restart {
        RestartPolicy::No => "no",
        RestartPolicy::OnFailure { .. } => "on-failure",
        RestartPolicy::Always | RestartPolicy::UnlessStopped => "always",
    };
    let stop = config.stop.timeout.as_secs().saturating_add(10);
    let note = match config.restart {
        RestartPolicy::No => String::new(),
        _ => {
            format!("# Give the container no policy of its own: wharf update --restart no {name}\n")
        }
    };
    format!(
        "{note}[Unit]\n\
         Description=Wharf container {name}\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         ExecStart={wharf} start --attach {name}\n\
         ExecStop={wharf} stop {name}\n\
         KillMode=mixed\n\
         Restart={restart}\n\
         TimeoutStopSec={stop}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

fn pod(config: &ContainerConfig) -> Value {
    let name = config.name.as_str().to_lowercase().replace(['_', '.'], "-");
    let (mounts, volumes) = volumes(config);
    let mut container = object(json!({
        "name": name,
        "image": config.image.name,
    }));
    let mut set = |key: &str, value: Value| {
        let is_empty = match &value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        if !is_empty {
            container.insert(key.to_owned(), value);
        }
    };
    let process = &config.process;
    set("command", json!(process.entrypoint));
    set("args", json!(process.command));
    set("workingDir", json!(process.workdir));
    let env = process.env.iter().filter_map(|entry| {
        let (name, value) = entry.split_once('=')?;
        Some(json!({"name": name, "value": value}))
    });
    set("env", env.collect());
    set("ports", ports(config));
    set("resources", resources(config));
    set("securityContext", security(config));
    set("livenessProbe", probe(config));
    set("volumeMounts", Value::Array(mounts));
    if process.tty {
        set("tty", json!(true));
    }
    if process.stdin != state::StdinMode::Closed {
        set("stdin", json!(true));
    }
    let mut spec = object(json!({
        "containers": [container],
        "restartPolicy": match config.restart {
            RestartPolicy::No => "Never",
            RestartPolicy::OnFailure { .. } => "OnFailure",
            RestartPolicy::Always | RestartPolicy::UnlessStopped => "Always",
        },
        "terminationGracePeriodSeconds": config.stop.timeout.as_secs(),
    }));
    if config.hostname != config.id.short() && config.network != NetworkMode::Host {
        spec.insert("hostname".to_owned(), json!(config.hostname));
    }
    for (key, is_so) in [
        ("hostNetwork", config.network == NetworkMode::Host),
        ("hostPID", config.namespaces.pid == PidMode::Host),
        ("hostIPC", config.namespaces.ipc == IpcMode::Host),
    ] {
        if is_so {
            spec.insert(key.to_owned(), json!(true));
        }
    }
    if !volumes.is_empty() {
        spec.insert("volumes".to_owned(), Value::Array(volumes));
    }
    let mut metadata = object(json!({"name": name}));
    if !config.labels.is_empty() {
        // Labels of Kubernetes are short and plain; annotations take any text.
        metadata.insert("annotations".to_owned(), json!(config.labels));
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn ports(config: &ContainerConfig) -> Value {
    let mut ports = Vec::new();
    for port in &config.ports {
        let protocol = match port.protocol {
            Protocol::Udp => "UDP",
            Protocol::Tcp => "TCP",
        };
        for (offset, inside) in (port.container.first..=port.container.last).enumerate() {
            let mut one = object(json!({"containerPort": inside, "protocol": protocol}));
            let host = |range: PortRange| {
                let port = usize::from(range.first) + offset;
                (port <= usize::from(range.last)).then_some(port)
            };
            if let Some(host) = port.host.and_then(host) {
                one.insert("hostPort".to_owned(), json!(host));
            }
            if let Some(address) = port.host_ip {
                one.insert("hostIP".to_owned(), json!(address));
            }
            ports.push(Value::Object(one));
        }
    }
    Value::Array(ports)
}

fn resources(config: &ContainerConfig) -> Value {
    let mut limits = Map::new();
    if let Some(memory) = config.resources.memory {
        limits.insert("memory".to_owned(), json!(memory.to_string()));
    }
    if let Some(nano) = config.resources.nano_cpus {
        let milli = nano.div_ceil(1_000_000);
        limits.insert("cpu".to_owned(), json!(format!("{milli}m")));
    }
    if limits.is_empty() {
        return Value::Null;
    }
    json!({"limits": limits})
}

fn security(config: &ContainerConfig) -> Value {
    let confinement = &config.confinement;
    let mut context = Map::new();
    let mut set = |key: &str, value: Value| context.insert(key.to_owned(), value);
    if confinement.privileged {
        set("privileged", json!(true));
    }
    if confinement.read_only_root {
        set("readOnlyRootFilesystem", json!(true));
    }
    if confinement.no_new_privileges {
        set("allowPrivilegeEscalation", json!(false));
    }
    let (user, group) = config
        .process
        .user
        .split_once(':')
        .unwrap_or((&config.process.user, ""));
    // Kubernetes knows numbers only; a name is the image's to resolve.
    for (key, text) in [("runAsUser", user), ("runAsGroup", group)] {
        if let Ok(number) = text.parse::<u32>() {
            set(key, json!(number));
        }
    }
    let mut capabilities = Map::new();
    for (key, list) in [
        ("add", &confinement.cap_add),
        ("drop", &confinement.cap_drop),
    ] {
        if !list.is_empty() {
            let names: Vec<&str> = list
                .iter()
                .map(|name| name.strip_prefix("CAP_").unwrap_or(name))
                .collect();
            capabilities.insert(key.to_owned(), json!(names));
        }
    }
    if !capabilities.is_empty() {
        set("capabilities", Value::Object(capabilities));
    }
    Value::Object(context)
}

fn probe(config: &ContainerConfig) -> Value {
    let Some(health) = &config.health else {
        return Value::Null;
    };
    let command: Vec<&str> = match health.test.split_first() {
        Some((kind, line)) if kind == "CMD-SHELL" => {
            let line = line.iter().map(String::as_str);
            ["/bin/sh", "-c"].into_iter().chain(line).collect()
        }
        Some((_, words)) => words.iter().map(String::as_str).collect(),
        None => return Value::Null,
    };
    json!({
        "exec": {"command": command},
        "periodSeconds": health.interval.as_secs().max(1),
        "timeoutSeconds": health.timeout.as_secs().max(1),
        "initialDelaySeconds": health.start_period.as_secs(),
        "failureThreshold": health.retries,
    })
}

/// What is mounted, and what of.
fn volumes(config: &ContainerConfig) -> (Vec<Value>, Vec<Value>) {
    let (mut mounts, mut volumes) = (Vec::new(), Vec::new());
    for (number, mount) in config.mounts.iter().enumerate() {
        let name = format!("mount-{number}");
        let source = match &mount.kind {
            MountKind::Bind { source, .. } => json!({"hostPath": {"path": source}}),
            MountKind::Volume(volume) if volume.anonymous => json!({"emptyDir": {}}),
            MountKind::Cloned(_) => json!({"emptyDir": {}}),
            MountKind::Volume(volume) => {
                json!({"persistentVolumeClaim": {"claimName": volume.name}})
            }
            MountKind::Tmpfs { .. } => json!({"emptyDir": {"medium": "Memory"}}),
            MountKind::Image(image) => json!({"image": {"reference": image.name}}),
        };
        let mut volume = object(source);
        volume.insert("name".to_owned(), json!(name));
        volumes.push(Value::Object(volume));
        let mut place = object(json!({"name": name, "mountPath": mount.target}));
        if mount.read_only {
            place.insert("readOnly".to_owned(), json!(true));
        }
        mounts.push(Value::Object(place));
    }
    (mounts, volumes)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_unit_are_quoted() {
        assert_eq!(quoted("/usr/bin/wharf"), "/usr/bin/wharf");
        assert_eq!(quoted("/a b/50%$x\""), "\"/a b/50%%$$x\\\"\"");
    }

    #[test]
    fn a_plain_container_is_a_small_pod() {
        let pod = pod(&crate::containers::test_config());
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["sh"]));
        assert_eq!(container.as_object().map(Map::len), Some(4));
        assert_eq!(pod["spec"]["restartPolicy"], "Never");
    }
}
