//! The reference: pages that are written from the program itself, held here against what is in docs/reference.
//! With KHACTL_WRITE_REFERENCE set (`make fix`) they are written instead.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use clap::{Arg, Command, CommandFactory};
use khactl::cli::Cli;
use khactl_model::AGENT_PORT;
use khactl_model::component::ComponentName;
use khactl_model::spec::{API_PORT, ProbeAction, ProbeSpec, Probes};
use serde_json::Value;

use super::schema::Place;

/// Set: the pages are written, not compared.
const WRITE: &str = "KHACTL_WRITE_REFERENCE";

#[test]
fn the_reference_of_commands_is_what_the_command_line_says_of_itself() {
    let mut page = String::from(concat!(
        "# Commands\n\n",
        "What `khactl` can be told, written from the program itself: `khactl help` and its man pages say the same. A time is a number with its unit, ",
        "as 90s, 10m or 2h. Exit codes: 0 done, 1 failed or refused, 2 wrong command line, 3 not ready in time.\n\n",
        "## Of every command\n\n",
    ));
    let mut cli = Cli::command().term_width(0);
    cli.build();
    let global: Vec<_> = shown(&cli).filter(|arg| arg.is_global_set()).collect();
    page += &table(&global);
    for command in cli.get_subcommands() {
        describe(command, "khactl", &mut page);
    }
    assert!(page.matches("\n## ").count() > 25, "commands are missing");
    holds("commands.md", &page);
}

#[test]
fn the_reference_of_the_spec_is_what_its_schema_says() {
    let schema = super::schema();
    let mut page = String::from(concat!(
        "# The spec\n\n",
        "Every field of `cluster.yaml`, written from [its JSON schema](cluster.schema.json). A test holds the schema against the program: fields, ",
        "limits, words and defaults are those that khactl has. An editor that knows JSON schemas completes and checks a spec that lies beside it and begins with\n\n",
        "```yaml\n# yaml-language-server: $schema=cluster.schema.json\n```\n\n",
        "Unknown fields are mistakes. `khactl preflight -f cluster.yaml` shows all mistakes of a file at once, each with its place. What of it can change ",
        "while the cluster runs is said in [operations](../operations.md#changing-the-spec).\n",
    ));
    // What several sections have is told once.
    let mut probe = None;
    for place in Place::root(&schema).all() {
        if !place.is_section() {
            continue;
        }
        let last = place.path.last().map_or("", String::as_str);
        if place.path.iter().any(|key| key == "probes") && last != "probes" {
            if place.path.ends_with(&["readiness".to_owned()]) && probe.is_none() {
                probe = Some(place);
            }
            continue;
        }
        if last == "probes" {
            continue;
        }
        let title = if last.is_empty() {
            "The file".into()
        } else {
            format!("`{}`", place.name())
        };
        let _ = write!(
            page,
            "\n## {title}\n\n{}\n\n",
            text(&place.schema, "description")
        );
        page += &fields(&place);
    }
    page += "\n## Probes\n\nBelow `probes` of a component stand `startup`, `liveness` and `readiness`, each with:\n\n";
    let probe = probe.expect("readiness");
    page += &fields(&probe);
    for action in probe.fields().iter().filter(|field| field.is_section()) {
        let _ = write!(
            page,
            "\nBelow `{}`:\n\n",
            action.path.last().expect("a name")
        );
        page += &fields(action);
    }
    page += "\nWhere nothing is written these are in force:\n\n";
    page += &default_probes();
    holds("spec.md", &page);
}

#[test]
fn the_reference_of_ports_has_those_that_a_spec_may_not_take_and_no_other() {
    let page = super::read(&super::root().join("docs/reference/ports.md"));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let named: BTreeSet<u16> = rows
        .filter_map(|row| row.split('/').next().and_then(|port| port.parse().ok()))
        .collect();
    let mut used: BTreeSet<u16> = (1..=u16::MAX)
        .filter(|port| super::schema::is_taken(*port))
        .collect();
    assert!(used.contains(&AGENT_PORT), "{used:?}");
    used.insert(API_PORT);
    assert_eq!(named, used);
}

/// One command and those below it.
fn describe(command: &Command, above: &str, page: &mut String) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let name = format!("{above} {}", command.get_name());
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let about = about.trim_end_matches('.');
    if command.has_subcommands() {
        for below in command.get_subcommands() {
            describe(below, &name, page);
        }
        return;
    }
    let usage = command.clone().render_usage().to_string();
    let _ = write!(page, "\n## {name}\n\n{about}.\n\n```text\n{usage}\n```\n\n");
    let own: Vec<_> = shown(command).filter(|arg| !arg.is_global_set()).collect();
    if own.is_empty() {
        // The blank line before a table that is not there.
        page.pop();
    }
    *page += &table(&own);
}

/// The arguments that are the program's, not clap's.
fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    let own =
        |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    command.get_arguments().filter(own)
}

fn table(arguments: &[&Arg]) -> String {
    if arguments.is_empty() {
        return String::new();
    }
    let mut table = String::from("| argument | what | default |\n|---|---|---|\n");
    for arg in arguments {
        let value = arg
            .get_value_names()
            .filter(|_| arg.get_action().takes_values());
        let value = value
            .and_then(<[_]>::first)
            .map(|name| format!(" {name}"))
            .unwrap_or_default();
        let names = match (arg.get_short(), arg.get_long()) {
            (Some(short), Some(long)) => format!("-{short}, --{long}{value}"),
            (None, Some(long)) => format!("--{long}{value}"),
            _ => value.trim_start().to_owned(),
        };
        let mut what = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let words: Vec<_> = arg
            .get_possible_values()
            .iter()
            .map(|word| format!("`{}`", word.get_name()))
            .collect();
        if !words.is_empty() && arg.get_action().takes_values() {
            let _ = write!(what, ": {}", words.join(", "));
        }
        if let Some(variable) = arg.get_env() {
            let _ = write!(what, "; or the variable `{}`", variable.to_string_lossy());
        }
        let default: Vec<_> = arg
            .get_default_values()
            .iter()
            .filter(|_| arg.get_action().takes_values())
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let _ = writeln!(
            table,
            "| `{names}` | {} | {} |",
            cell(&what),
            default.join(" ")
        );
    }
    table
}

/// The fields of a section that are no sections themselves, and where the others are.
fn fields(section: &Place<'_>) -> String {
    let required = &section.schema["required"];
    let mut table = String::from("| field | what | values | default |\n|---|---|---|---|\n");
    for field in section.fields() {
        let name = field.path.last().expect("a name");
        let needed = required
            .as_array()
            .is_some_and(|all| all.iter().any(|r| r == name));
        let default = match &field.schema["default"] {
            Value::Null if needed => "must be there".to_owned(),
            Value::Null => String::new(),
            value => format!("`{}`", plain(value)),
        };
        let what = text(&field.schema, "description");
        let _ = writeln!(
            table,
            "| `{name}` | {} | {} | {default} |",
            cell(&what),
            values(&field)
        );
    }
    table
}

/// What may stand in a field.
fn values(field: &Place<'_>) -> String {
    if field.is_section() {
        return "fields".to_owned();
    }
    let schema = &field.schema;
    match schema["type"].as_str() {
        Some("array") => format!("a list: {}", value(&schema["items"])),
        Some("object") => format!("name: {}", value(&schema["additionalProperties"])),
        _ => value(schema),
    }
}

fn value(schema: &Value) -> String {
    let quoted = |key: &str| {
        let all = schema[key].as_array().into_iter().flatten();
        all.map(|word| format!("`{}`", plain(word)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(only) = schema.get("const") {
        return format!("`{}`", plain(only));
    }
    match schema["type"].as_str() {
        None => quoted("enum"),
        Some("integer") => format!("{} to {}", schema["minimum"], schema["maximum"]),
        Some("boolean") => "`true`, `false`".to_owned(),
        Some(_) if schema["examples"].is_array() => format!("such as {}", quoted("examples")),
        Some(_) => "text".to_owned(),
    }
}

fn default_probes() -> String {
    let mut table = String::from(
        "| component | probe | asks | every | waits | failures that count |\n|---|---|---|---|---|---|\n",
    );
    for component in ComponentName::ALL {
        let Probes {
            startup,
            liveness,
            readiness,
        } = Probes::of(component);
        for (name, probe) in [
            ("startup", startup),
            ("liveness", liveness),
            ("readiness", readiness),
        ] {
            let Some(ProbeSpec {
                action: ProbeAction::HttpGet(get),
                period_ms,
                timeout_ms,
                failure_threshold,
                ..
            }) = probe
            else {
                continue;
            };
            let _ = writeln!(
                table,
                "| {component} | `{name}` | `{}`, {} | {period_ms} ms | {timeout_ms} ms | {failure_threshold} |",
                get.path,
                get.scheme.name()
            );
        }
    }
    table
}

fn text(schema: &Value, key: &str) -> String {
    schema[key].as_str().unwrap_or_default().to_owned()
}

/// As it is written in YAML.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A table's cell holds no line break and no bar.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

/// Compares a page with the one in the repository, or writes it.
fn holds(name: &str, page: &str) {
    let path = super::root().join("docs/reference").join(name);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, page).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    if let Some((at, (old, new))) = written
        .lines()
        .zip(page.lines())
        .enumerate()
        .find(|(_, (a, b))| a != b)
    {
        panic!(
            "docs/reference/{name}:{}: `make fix` writes it anew\n- {old}\n+ {new}",
            at + 1
        );
    }
    assert_eq!(
        written.len(),
        page.len(),
        "docs/reference/{name}: `make fix` writes it anew"
    );
}
