use serde_json::{Value, json};

use super::{Purpose, Template};

fn container() -> Value {
    json!({
        "Id": "4c01db0b339c0f2bd1a4b5e9a3a6a5b3",
        "Name": "/web",
        "State": {"Status": "running", "Running": true, "Pid": 4242, "ExitCode": 0, "Health": null},
        "Args": ["-c", "sleep 5"],
        "Mounts": [
            {"Type": "bind", "Source": "/srv", "Destination": "/data", "RW": true},
            {"Type": "volume", "Source": "/v", "Destination": "/db", "RW": false}
        ],
        "Config": {
            "Image": "nginx:latest",
            "Env": ["PATH=/bin", "A=1"],
            "Labels": {"com.example.team": "web", "maintainer": "x <x@y>"},
            "ExposedPorts": {"80/tcp": {}}
        },
        "NetworkSettings": {
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": null},
            "Networks": {"bridge": {"IPAddress": "172.30.0.2"}, "other": {"IPAddress": "10.0.0.2"}}
        },
        "SizeRw": 12.5
    })
}

fn render(template: &str) -> String {
    match Template::parse(template).and_then(|t| t.render(&container(), Purpose::Row)) {
        Ok(text) => text,
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn formats_that_people_use_with_docker() {
    for (template, expected) in [
        ("{{.Name}}", "/web"),
        ("{{ .State.Pid }}", "4242"),
        ("{{.State.Status}}: {{.State.ExitCode}}", "running: 0"),
        ("{{json .State.Running}}", "true"),
        (
            "{{json .Config.Labels}}",
            r#"{"com.example.team":"web","maintainer":"x <x@y>"}"#,
        ),
        ("{{.Config.Env}}", "[PATH=/bin A=1]"),
        (
            "{{.NetworkSettings.Networks.bridge.IPAddress}}",
            "172.30.0.2",
        ),
        (
            "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}",
            "172.30.0.2 10.0.0.2 ",
        ),
        (
            "{{range $name, $net := .NetworkSettings.Networks}}{{$name}}={{$net.IPAddress}};{{end}}",
            "bridge=172.30.0.2;other=10.0.0.2;",
        ),
        (
            r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#,
            "8080",
        ),
        (
            r"{{range $p, $conf := .NetworkSettings.Ports}} {{$p}} -> {{if $conf}}{{(index $conf 0).HostPort}}{{else}}none{{end}} {{end}}",
            " 443/tcp -> none  80/tcp -> 8080 ",
        ),
        (
            "{{range .Mounts}}{{.Source}}:{{.Destination}}{{println}}{{end}}",
            "/srv:/data\n/v:/db\n",
        ),
        (
            r#"{{range .Mounts}}{{if eq .Type "volume"}}{{.Destination}}{{end}}{{end}}"#,
            "/db",
        ),
        (r#"{{index .Config.Labels "com.example.team"}}"#, "web"),
        (r#"{{index .Config.Labels "nothing"}}"#, ""),
        (r#"{{join .Args " "}}"#, "-c sleep 5"),
        (
            r#"{{upper .State.Status}} {{title "two words"}}"#,
            "RUNNING Two Words",
        ),
        ("{{lower \"ABC\" | upper | printf \"%s!\"}}", "ABC!"),
        ("{{truncate .Id 12}}", "4c01db0b339c"),
        (
            r#"{{printf "%.7s|%-6s|%5d|%05d" .Id "ab" 42 42}}"#,
            "4c01db0|ab    |   42|00042",
        ),
        (r"{{slice .Id 0 4}}", "4c01"),
        (r#"{{range split "a,b" ","}}[{{.}}]{{end}}"#, "[a][b]"),
        ("{{len .Mounts}}", "2"),
        ("{{if .State.Running}}yes{{else}}no{{end}}", "yes"),
        (
            "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}",
            "none",
        ),
        (
            "{{if .State.Health.Status}}x{{else if eq .State.Pid 4242}}pid{{else}}none{{end}}",
            "pid",
        ),
        ("{{with .Config}}{{.Image}}{{end}}", "nginx:latest"),
        ("{{with .Nothing}}{{.}}{{else}}-{{end}}", "-"),
        ("{{- range .Args }} {{ . -}} {{- end }}", " -c sleep 5"),
        ("a {{- /* comment */ -}} b", "ab"),
        ("{{/* c */}}x", "x"),
        ("{{$x := .State}}{{$x.Pid}}", "4242"),
        (
            "{{$n := 0}}{{range .Mounts}}{{$n = len .Type}}{{end}}{{$n}}",
            "6",
        ),
        ("{{and .State.Running (gt .State.Pid 1)}}", "true"),
        ("{{or .Nothing .Name}}", "/web"),
        ("{{not .State.Running}}", "false"),
        (
            r#"{{if and (eq .State.Status "running") (ne .Name "/db")}}up{{end}}"#,
            "up",
        ),
        (r#"{{eq .Name "a" "/web"}}"#, "true"),
        ("{{`raw \\n`}} {{\"\\t\\u00e9\"}}", "raw \\n \té"),
        (
            "{{range $i, $m := .Mounts}}{{if $i}},{{end}}{{$m.Type}}{{end}}",
            "bind,volume",
        ),
        (
            "{{range .Mounts}}{{if .RW}}{{continue}}{{end}}{{.Type}}{{end}}",
            "volume",
        ),
        ("{{range .Mounts}}{{.Type}}{{break}}{{end}}", "bind"),
        ("{{range .State.Health}}x{{else}}empty{{end}}", "empty"),
        ("{{.SizeRw}} {{true}} {{nil}}", "12.5 true <no value>"),
        ("{{range .Mounts}}{{$.Name}} {{end}}", "/web /web "),
        (r"{{.Config.Labels.maintainer | html}}", "x &lt;x@y&gt;"),
        ("{{pad \"x\" 1 2}}|", " x  |"),
        ("{{.State.Health}}", "<no value>"),
        ("", ""),
        ("plain", "plain"),
        ("{{print 1 2 \"x\" 3}}", "1 2x3"),
        ("{{.Config.ExposedPorts}}", "map[80/tcp:map[]]"),
        (
            r#"{{.Config.Labels.Nope | printf "%s"}}{{end}}"#,
            "error: template at 1:38: end without a beginning",
        ),
    ] {
        assert_eq!(render(template), expected, "{template}");
    }
}

#[test]
fn faults_are_said_with_their_place() {
    for (template, expected) in [
        (
            "{{.Nmae}}",
            "1:3: there is no field Nmae: there is Args, Config, Id,",
        ),
        (
            "{{.State.Foo}}",
            "1:3: there is no field Foo in .State: there is ExitCode",
        ),
        (
            "{{.Name.First}}",
            "1:3: there is no field First in .Name: it is a plain value",
        ),
        ("{{.State.Health.Status}}", "it is empty"),
        ("a\n  {{foo .Id}}", "2:5: there is no function \"foo\""),
        ("{{if .X}}", "1:1: if without its end"),
        ("{{end}}", "1:1: end without a beginning"),
        ("{{.Id", "1:1: the action does not end"),
        ("{{\"x}}", "1:3: the string does not end"),
        (
            "{{index .Args 7}}",
            "7 is out of range: there are 2 elements",
        ),
        ("{{(.Id}}", "1:3: the parenthesis is not closed"),
        ("{{.Id)}}", "1:6: unexpected )"),
        ("{{}}", "a value is missing"),
        ("{{$x}}", "there is no variable $x"),
        ("{{define \"x\"}}{{end}}", "define is not supported"),
        ("{{break}}", "break outside of range"),
        ("{{len 5}}", "len takes a list"),
        ("{{.Id | .Name}}", "takes no argument"),
        ("{{lt 1 \"a\"}}", "compares two numbers or two texts"),
        ("{{join \"a\"}}", "join does not take 1 arguments"),
        ("{{/* x", "the comment does not end"),
        ("{{1x}}", "\"1x\" is not a number"),
        ("{{else}}", "else without if"),
    ] {
        let text = render(template);
        assert!(text.contains(expected), "{template}: {text}");
    }
    let deep = "{{if .Id}}".repeat(500);
    assert!(render(&deep).contains("nested too deeply"));
    let deep = format!("{{{{{}.Id", "(".repeat(5000));
    assert!(render(&deep).contains("error"));
}

#[test]
fn labels_are_asked_for_by_name() {
    let row = json!({"Label": {"a.b-team": "x"}});
    let header = json!({"Label": "LABEL", "ID": "CONTAINER ID"});
    let template = Template::parse(r#"{{.Label "a.b-team"}}{{.Label "none"}}"#).unwrap();
    assert_eq!(template.render(&row, Purpose::Row).unwrap(), "x");
    let template = Template::parse(r#"{{.Label "a.b-team"}} {{truncate .ID 2 | lower}}"#).unwrap();
    assert_eq!(
        template.render(&header, Purpose::Header).unwrap(),
        "b team CONTAINER ID"
    );
}
