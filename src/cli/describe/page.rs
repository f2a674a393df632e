//! The page about an instance. Pure: what was seen, and the time, in; text out.

use std::fmt::Write;

use anstyle::Style;
use jiff::Timestamp;

use super::super::get::tone;
use super::super::output::{Cell, Format, Table, Tone, printable};
use super::seen::{EventSeen, PodSeen, Seen, VolumeSeen};
use crate::api::conditions::{Condition, ConditionStatus, READY, RECONCILING, STALLED, find};
use crate::api::instance::{ConfigurationStatus, InstanceStatus};
use crate::api::{Instance, Operation, labels};
use kube::ResourceExt;

pub fn page(seen: &Seen, now: Timestamp, format: Format) -> String {
    let status = seen.instance.status.clone().unwrap_or_default();
    let mut text = head(&seen.instance, &status, now, format);
    let mut section = |title: &str, table: Table| text.push_str(&shown(title, &table, format));
    section("Pods", pods(&seen.pods));
    section("Volumes", volumes(&seen.volumes));
    section("Configuration", configuration(&status.configuration, &seen.pods));
    section("Operations", operations(&seen.operations, now));
    section("Conditions", conditions(&status.conditions, now));
    section("Events", events(&seen.events, now));
    text
}

/// A table under its title; nothing where there is nothing to show.
pub fn shown(title: &str, table: &Table, format: Format) -> String {
    if table.is_empty() {
        return String::new();
    }
    match format {
        Format::Markdown => format!("\n**{title}**\n\n{}", table.shown(format)),
        _ => format!("\n{0}{title}{0:#}\n{1}", Style::new().bold(), table.shown(format)),
    }
}

/// Lines of a name and what it is.
pub fn facts(lines: &[(&str, String)], format: Format) -> String {
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        let value = printable(value).replace('\n', " ");
        let _ = match format {
            Format::Markdown => writeln!(text, "- {name}: {value}"),
            _ => writeln!(text, "{name:<12}{value}"),
        };
    }
    text
}

fn head(instance: &Instance, status: &InstanceStatus, now: Timestamp, format: Format) -> String {
    let spec = &instance.spec;
    let resolved = status.resolved.clone().unwrap_or_default();
    let name = format!("{}/{}", instance.namespace().unwrap_or_default(), instance.name_any());
    let title = match format {
        Format::Markdown => format!("### Instance {name}\n\n"),
        _ => format!("{0}Instance {name}{0:#}\n", Style::new().bold()),
    };
    let differs = |running: Option<&String>, wanted: &str| match running {
        Some(running) if running != wanted => format!("{running}, to be {wanted}"),
        _ => wanted.to_owned(),
    };
    let version = differs(resolved.version.as_ref(), spec.version.as_str());
    let extension = differs(resolved.extension_version.as_ref(), spec.extension_version.as_str());
    let phase =
        status.phase.map_or_else(|| "unknown: no controller looked at it yet".to_owned(), |phase| format!("{phase:?}"));
    let ready = status.ready.as_ref().map(|ready| format!(", {ready} pods ready")).unwrap_or_default();
    let age = instance.creation_timestamp().map(|time| format!(", {} old", age(time.0, now))).unwrap_or_default();
    let connection = status.connection.clone().unwrap_or_default();
    let address = match (connection.host, connection.port) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default(),
    };
    let secret = connection.secret_name.map(|name| format!(", credentials in Secret {name}")).unwrap_or_default();
    let backup = status.backup.clone().unwrap_or_default();
    let latest = backup.latest.map(|latest| {
        let until = backup.recoverable_until.map(|until| format!(", recoverable until {until}")).unwrap_or_default();
        format!("latest {latest}{until}")
    });
    let facts = facts(
        &[
            ("Phase", format!("{phase}{ready}{age}")),
            ("Waits for", waits(instance, status)),
            ("Type", format!("{} {version}, extension {extension}", spec.type_)),
            ("Topology", resolved.topology.or(spec.topology.as_ref().map(ToString::to_string)).unwrap_or_default()),
            ("Environment", resolved.environment.unwrap_or_default()),
            ("Primary", status.primary.clone().unwrap_or_default()),
            ("Connect", format!("{address}{secret}")),
            ("Comes from", origin(instance)),
            ("Operation", status.operation.clone().unwrap_or_default()),
            ("Backups", latest.unwrap_or_default()),
        ],
        format,
    );
    title + &facts
}

/// What keeps it from being as it should; nothing where it is.
fn waits(instance: &Instance, status: &InstanceStatus) -> String {
    if instance.spec.suspend == Some(true) {
        return format!("somebody to resume it: midship resume inst/{}", instance.name_any());
    }
    let holds = |type_: &str| find(&status.conditions, type_).filter(|found| found.status == ConditionStatus::True);
    let unready = find(&status.conditions, READY).filter(|ready| ready.status != ConditionStatus::True);
    let told = holds(STALLED).or(unready).or_else(|| holds(RECONCILING));
    told.map(|condition| condition.message.clone()).unwrap_or_default()
}

/// The file and commit it comes from.
fn origin(instance: &Instance) -> String {
    let annotation = |key: &str| instance.annotations().get(key).cloned();
    let Some(path) = annotation(labels::SOURCE_PATH) else { return String::new() };
    let commit = annotation(labels::SOURCE_COMMIT).map(|id| format!(" at {}", id.chars().take(10).collect::<String>()));
    let source = instance.labels().get(labels::SOURCE).map(|source| format!(" (source {source})"));
    format!("{path}{}{}", commit.unwrap_or_default(), source.unwrap_or_default())
}

/// A table without the columns that are empty in every row.
fn dense(headings: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    let used = |column: usize| rows.iter().any(|row| !row[column].is_blank());
    let kept: Vec<usize> = (0..headings.len()).filter(|column| used(*column)).collect();
    let mut table = Table::new(&kept.iter().map(|column| headings[*column]).collect::<Vec<_>>());
    for row in rows {
        let cells = row.into_iter().enumerate().filter(|(column, _)| kept.contains(column));
        table.row(cells.map(|(_, cell)| cell).collect());
    }
    table
}

fn text(value: Option<&String>) -> Cell {
    value.cloned().unwrap_or_default().into()
}

fn pods(pods: &[PodSeen]) -> Table {
    let rows = pods.iter().map(|PodSeen { member, restarts, pending_restart, .. }| {
        let ready = if member.ready { Cell::new("yes", Tone::Good) } else { Cell::new("no", Tone::Bad) };
        let mut reason = member.reason.clone().unwrap_or_default();
        if !pending_restart.is_empty() {
            let waiting = format!("takes effect with the next restart: {}", pending_restart.join(", "));
            reason = if reason.is_empty() { waiting } else { format!("{reason}; {waiting}") };
        }
        vec![
            member.name.as_str().into(),
            member.component.as_str().into(),
            text(member.role.as_ref()),
            ready,
            member.lag.map(bytes).unwrap_or_default().into(),
            member.state.clone().filter(|state| state != "Normal").unwrap_or_default().into(),
            if *restarts == 0 { "".into() } else { restarts.to_string().into() },
            text(member.node.as_ref()),
            reason.into(),
        ]
    });
    dense(&["NAME", "COMPONENT", "ROLE", "READY", "LAG", "STATE", "RESTARTS", "NODE", "WHY"], rows.collect())
}

fn volumes(volumes: &[VolumeSeen]) -> Table {
    let rows = volumes.iter().map(|volume| {
        [&volume.name, &volume.size, &volume.class, &volume.phase].map(|text| text.as_str().into()).to_vec()
    });
    dense(&["CLAIM", "SIZE", "CLASS", "PHASE"], rows.collect())
}

fn configuration(all: &[ConfigurationStatus], pods: &[PodSeen]) -> Table {
    let rows = all.iter().map(|one| {
        let mine = pods.iter().filter(|pod| pod.member.component == one.component);
        let (all, same) = mine.fold((0, 0), |(all, same), pod| {
            (all + 1, same + usize::from(pod.config_revision.is_some() && pod.config_revision == one.revision))
        });
        let state = one.state.clone().unwrap_or_default();
        let tone = match state.as_str() {
            "Applied" => Tone::Good,
            "Rejected" | "RolledBack" => Tone::Bad,
            _ => Tone::Doubtful,
        };
        vec![
            one.component.as_str().into(),
            text(one.revision.as_ref()),
            Cell::new(state, tone),
            if all == 0 || same == 0 { "".into() } else { format!("{same}/{all}").into() },
            text(one.message.as_ref()),
        ]
    });
    dense(&["COMPONENT", "REVISION", "STATE", "IN EFFECT", "MESSAGE"], rows.collect())
}

fn operations(operations: &[Operation], now: Timestamp) -> Table {
    let rows = operations.iter().map(|operation| {
        let status = operation.status.clone().unwrap_or_default();
        let phase = status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default();
        vec![
            operation.name_any().into(),
            format!("{:?}", operation.spec.type_).into(),
            Cell::new(phase.as_str(), tone("Phase", &phase)),
            status.progress.unwrap_or_default().into(),
            operation.creation_timestamp().map(|time| age(time.0, now)).unwrap_or_default().into(),
            status.message.unwrap_or_default().into(),
        ]
    });
    dense(&["NAME", "TYPE", "PHASE", "PROGRESS", "AGE", "MESSAGE"], rows.collect())
}

pub fn conditions(conditions: &[Condition], now: Timestamp) -> Table {
    let rows = conditions.iter().map(|condition| {
        let status = format!("{:?}", condition.status);
        let tone = if condition.type_ == READY { tone("Ready", &status) } else { Tone::Plain };
        vec![
            condition.type_.as_str().into(),
            Cell::new(status, tone),
            age(condition.last_transition_time.0, now).into(),
            condition.reason.as_str().into(),
            condition.message.replace('\n', " ").into(),
        ]
    });
    dense(&["TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"], rows.collect())
}

pub fn events(events: &[EventSeen], now: Timestamp) -> Table {
    let rows = events.iter().map(|event| {
        let tone = if event.type_ == "Warning" { Tone::Doubtful } else { Tone::Plain };
        vec![
            event.at.map(|at| age(at, now)).unwrap_or_default().into(),
            if event.count > 1 { format!("×{}", event.count).into() } else { "".into() },
            Cell::new(event.reason.as_str(), tone),
            event.object.as_str().into(),
            event.message.replace('\n', " ").into(),
        ]
    });
    dense(&["AGO", "TIMES", "REASON", "OBJECT", "MESSAGE"], rows.collect())
}

/// How long ago, in the largest unit that tells enough: 45s, 12m, 5h, 3d.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_second() - then.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn bytes(lag: i64) -> String {
    const UNITS: [(i64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    UNITS
        .iter()
        .find(|(size, _)| lag >= *size)
        .map_or_else(|| format!("{lag} B"), |(size, unit)| format!("{} {unit}", lag / size))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::seen::{EventSeen, VolumeSeen};
    use super::*;

    fn seen() -> Seen {
        let instance = json!({
            "apiVersion": "midship.dev/v1alpha1", "kind": "Instance",
            "metadata": {
                "name": "orders", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": { "midship.dev/source": "team.main" },
                "annotations": { "midship.dev/source-path": "instances/shop/orders.yaml", "midship.dev/source-commit": "9c7d98fec3aaaaaa" }
            },
            "spec": { "type": "demo", "extensionVersion": "1.0.0", "version": "1.1" },
            "status": {
                "phase": "Updating", "ready": "2/3", "primary": "orders-demo-0",
                "resolved": { "topology": "replication", "version": "1.0", "extensionVersion": "1.0.0" },
                "connection": { "host": "orders.shop.svc", "port": 8080, "secretName": "orders-connection" },
                "members": [
                    { "name": "orders-demo-0", "component": "demo", "role": "primary", "ready": true, "node": "a" },
                    { "name": "orders-demo-1", "component": "demo", "role": "replica", "ready": false, "node": "b", "lag": 12_582_912, "reason": "catches up" }
                ],
                "configuration": [{ "component": "demo", "revision": "abc", "state": "Applied" }],
                "conditions": [
                    { "type": "Ready", "status": "False", "reason": "Updating", "message": "waiting for orders-demo-1 to catch up: lag 12 MiB", "lastTransitionTime": "2026-01-01T00:58:00Z" }
                ]
            }
        });
        let instance: Instance = serde_json::from_value(instance).expect("an instance");
        let pods = instance.status.clone().unwrap_or_default().members.into_iter();
        let pods = pods.map(|member| PodSeen {
            member,
            restarts: 0,
            config_revision: Some("abc".into()),
            pending_restart: Vec::new(),
        });
        let event = EventSeen {
            at: "2026-01-01T00:59:00Z".parse().ok(),
            type_: "Normal".into(),
            reason: "Restarted".into(),
            object: "Pod/orders-demo-1".into(),
            message: "the process was restarted".into(),
            count: 2,
        };
        let volume = VolumeSeen {
            name: "data-orders-demo-0".into(),
            size: "1Gi".into(),
            class: "fast".into(),
            phase: "Bound".into(),
        };
        Seen { pods: pods.collect(), instance, volumes: vec![volume], operations: Vec::new(), events: vec![event] }
    }

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().expect("a time")
    }

    #[test]
    fn the_page_tells_how_it_is_and_what_it_waits_for() {
        let text = anstream::adapter::strip_str(&page(&seen(), now(), Format::Table)).to_string();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_page_can_stand_in_a_comment() {
        insta::assert_snapshot!(page(&seen(), now(), Format::Markdown));
    }

    #[test]
    fn an_instance_that_nobody_looked_at_says_so() {
        let mut seen = seen();
        seen.instance.status = None;
        seen.pods.clear();
        let text = page(&seen, now(), Format::Markdown);
        assert!(text.contains("- Phase: unknown: no controller looked at it yet, 60m old"), "{text}");
    }

    #[test]
    fn ages_are_short() {
        let then = |seconds: i64| age(now() - jiff::SignedDuration::from_secs(seconds), now());
        assert_eq!([then(5), then(119), then(600), then(7200), then(400_000)], ["5s", "119s", "10m", "2h", "4d"]);
    }
}
