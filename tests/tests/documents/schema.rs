//! Holds docs/reference/cluster.schema.json against the program that reads specs: the same fields, limits, words
//! and defaults. The program is asked, by specs that are wrong at one place; its source is not looked at.

use std::collections::BTreeSet;

use khactl_model::spec::{ClusterSpec, Code, Problem};
use serde_json::{Value, json};

/// No field's name, and like none.
const NO_FIELD: &str = "qqqqqqqqqqqqqqqq";
/// How the program begins the list of a section's fields.
const FIELDS_ARE: &str = "The fields here are ";

/// A place in a spec and what the schema says of it.
pub(crate) struct Place<'s> {
    /// Keys from the root.
    pub(crate) path: Vec<String>,
    /// With what it refers to put in.
    pub(crate) schema: Value,
    /// The sections around it, outermost first.
    root: &'s Value,
}

impl<'s> Place<'s> {
    pub(crate) fn root(schema: &'s Value) -> Self {
        Self {
            path: Vec::new(),
            schema: schema.clone(),
            root: schema,
        }
    }

    /// The fields below it, in the order in which the program names them.
    pub(crate) fn fields(&self) -> Vec<Self> {
        let Some(properties) = self.schema["properties"].as_object() else {
            return Vec::new();
        };
        let mut known = self.known();
        known.retain(|name| properties.contains_key(name));
        let field = |name: String| {
            let schema = resolved(&properties[&name], self.root);
            let mut path = self.path.clone();
            path.push(name);
            Self {
                path,
                schema,
                root: self.root,
            }
        };
        known.into_iter().map(field).collect()
    }

    /// Itself and everything below it.
    pub(crate) fn all(self) -> Vec<Self> {
        let below: Vec<_> = self.fields().into_iter().flat_map(Self::all).collect();
        std::iter::once(self).chain(below).collect()
    }

    /// As the program writes it.
    pub(crate) fn name(&self) -> String {
        self.path.join(".")
    }

    pub(crate) fn is_section(&self) -> bool {
        self.schema["properties"].is_object()
    }

    /// The fields that the program knows here.
    fn known(&self) -> Vec<String> {
        let spec = with(
            &[self.path.as_slice(), &[NO_FIELD.to_owned()]].concat(),
            json!(1),
        );
        let problems = problems(&spec);
        let unknown = problems.iter().find(|p| p.code == Code::UnknownField);
        let cure = unknown.map(|problem| problem.cure.trim_end_matches('.'));
        let list = cure.and_then(|cure| cure.strip_prefix(FIELDS_ARE));
        list.unwrap_or_else(|| panic!("{}: {problems:?}", self.name()))
            .split(", ")
            .map(str::to_owned)
            .collect()
    }

    /// Does the program refuse this very value?
    fn refuses(&self, value: Value) -> bool {
        let name = self.name();
        problems(&with(&self.path, value)).iter().any(|problem| {
            let inside = problem.path.strip_prefix(&name);
            inside.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                && matches!(
                    problem.code,
                    Code::Malformed | Code::OutOfRange | Code::WrongKind
                )
        })
    }
}

#[test]
fn the_schema_has_the_fields_that_the_program_reads() {
    let schema = super::schema();
    let mut seen = 0;
    for place in Place::root(&schema).all() {
        if let Some(properties) = place.schema["properties"].as_object() {
            seen += properties.len();
            let described: BTreeSet<_> = properties.keys().cloned().collect();
            let read: BTreeSet<_> = place.known().into_iter().collect();
            assert_eq!(described, read, "below {:?}", place.name());
            assert_eq!(
                place.schema["additionalProperties"],
                false,
                "{}",
                place.name()
            );
        }
        let said = place.schema["description"].as_str().unwrap_or_default();
        assert!(said.ends_with(['.', '?']), "{}: {said:?}", place.name());
    }
    assert!(seen > 150, "only {seen} fields");
}

#[test]
fn the_schema_has_the_limits_and_words_that_the_program_keeps() {
    let schema = super::schema();
    let mut seen = 0;
    for place in Place::root(&schema).all() {
        // One of the three probes shows the limits of all: the others have narrower ones besides.
        if place
            .path
            .iter()
            .any(|key| key == "startup" || key == "liveness")
        {
            continue;
        }
        let name = place.name();
        let (part, around): (&Value, fn(&Place<'_>, Value) -> Value) =
            match place.schema["type"].as_str() {
                Some("array") => (&place.schema["items"], in_a_list),
                Some("object") if !place.is_section() => {
                    (&place.schema["additionalProperties"], in_a_map)
                }
                _ => (&place.schema, alone),
            };
        let refuses = |value| place.refuses(around(&place, value));
        if let (Some(low), Some(high)) = (part["minimum"].as_i64(), part["maximum"].as_i64()) {
            seen += 1;
            for (value, refused) in [
                (low - 1, true),
                (low, false),
                (high, false),
                (high + 1, true),
            ] {
                assert_eq!(refuses(json!(value)), refused, "{name}: {value}");
            }
        }
        for word in part["enum"].as_array().into_iter().flatten() {
            seen += 1;
            assert!(!refuses(word.clone()), "{name}: {word}");
            assert!(refuses(json!(NO_FIELD)), "{name}: any word will do");
        }
        for example in part["examples"].as_array().into_iter().flatten() {
            seen += 1;
            assert!(!refuses(example.clone()), "{name}: {example}");
        }
        if part["type"] == "boolean" {
            seen += 1;
            assert!(!refuses(json!(true)) && refuses(json!("true")), "{name}");
        }
    }
    assert!(seen > 50, "only {seen} checks");
}

#[test]
fn the_schema_has_the_defaults_that_the_program_fills_in() {
    let schema = super::schema();
    let spec = ClusterSpec::parse(&smallest().to_string()).expect("the smallest spec");
    let filled_in = serde_json::to_value(&spec).expect("a spec is JSON");
    let mut seen = 0;
    for place in Place::root(&schema).all() {
        let mut value = Some(&filled_in);
        for key in &place.path {
            value = value.and_then(|value| value.get(key));
        }
        let default = &place.schema["default"];
        let given = place
            .path
            .iter()
            .try_fold(&smallest(), |value, key| value.get(key))
            .is_some();
        // What is left out where it is empty is no field of the text that the program writes.
        if given
            || place.is_section()
            || (value.is_none() && matches!(default.to_string().as_str(), "null" | "[]" | "{}"))
        {
            continue;
        }
        seen += 1;
        assert_eq!(value, Some(default), "{}", place.name());
    }
    assert!(seen > 20, "only {seen} defaults");
}

/// May the balancer not have this port, whatever else is in the spec?
pub(crate) fn is_taken(port: u16) -> bool {
    let path = ["spec", "balancer", "port"].map(str::to_owned);
    let refused = problems(&with(&path, json!(port)));
    refused
        .iter()
        .any(|problem| problem.code == Code::PortConflict)
}

/// The schema of one place, with what `$ref` names; what stands beside it wins.
fn resolved(schema: &Value, root: &Value) -> Value {
    let Some(reference) = schema["$ref"].as_str() else {
        return schema.clone();
    };
    let definition = root.pointer(reference.trim_start_matches('#'));
    let mut whole = definition
        .unwrap_or_else(|| panic!("no {reference}"))
        .clone();
    for (key, value) in schema.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    whole
}

fn alone(_: &Place<'_>, value: Value) -> Value {
    value
}

fn in_a_list(place: &Place<'_>, value: Value) -> Value {
    let others = place.schema["minItems"]
        .as_u64()
        .unwrap_or(1)
        .saturating_sub(1);
    // Beside the one in question others that are good.
    let other = place.schema["items"]["maximum"].clone();
    let list = std::iter::once(value).chain((0..others).map(|_| other.clone()));
    Value::Array(list.collect())
}

fn in_a_map(_: &Place<'_>, value: Value) -> Value {
    Value::Object(std::iter::once(("name".to_owned(), value)).collect())
}

/// All that a spec has to say.
fn smallest() -> Value {
    json!({
        "apiVersion": "khactl.io/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "prod"},
        "spec": {
            "vip": {"addresses": ["10.77.0.100/24"]},
            "controlPlane": {"kubernetesVersion": "v1.20.2", "bundle": "/opt/khactl/bundles/v1.20.2"},
        },
    })
}

/// The smallest spec with one thing more. As many connections as there may be, so that other limits show.
fn with(path: &[String], value: Value) -> Value {
    let mut spec = smallest();
    spec["spec"]["balancer"]["limits"]["connections"] = json!(100_000);
    let mut at = &mut spec;
    for key in path {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[key];
    }
    *at = value;
    spec
}

/// JSON is YAML.
fn problems(spec: &Value) -> Vec<Problem> {
    match ClusterSpec::parse(&spec.to_string()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.problems,
    }
}
