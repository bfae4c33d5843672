//! One JSON object a line: the first known name of each field wins, everything else is skipped unread.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{Fields, Flaw, Kind, LANGS, utf8};

/// The best value seen for a field, with the rank of the name that it stood under.
type Slot<'a> = Option<(usize, &'a RawValue)>;

/// The values of interest in one object, still as JSON text.
#[derive(Default)]
struct Slots<'a> {
    id: Slot<'a>,
    text: Slot<'a>,
    title: Slot<'a>,
    lang: Slot<'a>,
    source: Slot<'a>,
}

impl<'a> Slots<'a> {
    /// The slot and the rank that a key belongs to.
    fn of_key(&mut self, kind: Kind, key: &str) -> Option<(&mut Slot<'a>, usize)> {
        let rank = |names: &[&str]| names.iter().position(|name| *name == key);
        if let Some(found) = rank(kind.ids()) {
            Some((&mut self.id, found))
        } else if let Some(found) = rank(kind.texts()) {
            Some((&mut self.text, found))
        } else if let Some(found) = rank(kind.titles()) {
            Some((&mut self.title, found))
        } else if let Some(found) = rank(LANGS) {
            Some((&mut self.lang, found))
        } else {
            rank(kind.sources()).map(|found| (&mut self.source, found))
        }
    }
}

struct SlotVisitor(Kind);

impl<'de> Visitor<'de> for SlotVisitor {
    type Value = Slots<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("one JSON object a line")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Slots<'de>, A::Error> {
        let mut slots = Slots::default();
        while let Some(Text(key)) = map.next_key()? {
            let Some((slot, rank)) = slots.of_key(self.0, &key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value: &RawValue = map.next_value()?;
            let better = slot.is_none_or(|(best, _)| rank <= best);
            if better && value.get() != "null" {
                *slot = Some((rank, value));
            }
        }
        Ok(slots)
    }
}

/// A JSON string, borrowed where it holds no escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The record on one line.
pub fn parse(kind: Kind, record: &[u8]) -> Result<Fields<'_>, Flaw> {
    let line = utf8(record)?.trim();
    let slots = slots(kind, line).map_err(|error| bad_json(line, &error))?;
    let (Some(id), Some(text)) = (slots.id, slots.text) else {
        return Err(missing(kind, line, slots.id.is_none()));
    };
    Ok(Fields {
        id: value("id", Some(id))?,
        text: value("text", Some(text))?,
        title: value("title", slots.title)?,
        lang: value("lang", slots.lang)?,
        // Files use this name for other things too, so a value of another kind counts as absent.
        source: value("source", slots.source).unwrap_or_default(),
    })
}

fn slots(kind: Kind, line: &str) -> serde_json::Result<Slots<'_>> {
    let mut reader = serde_json::Deserializer::from_str(line);
    let slots = (&mut reader).deserialize_map(SlotVisitor(kind))?;
    reader.end()?;
    Ok(slots)
}

/// A string as it is, a number as it is written; anything else is a flaw.
fn value<'a>(name: &str, slot: Slot<'a>) -> Result<Cow<'a, str>, Flaw> {
    let Some((_, raw)) = slot else {
        return Ok(Cow::Borrowed(""));
    };
    let json = raw.get();
    match json.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<Text<'a>>(json) {
            Ok(Text(text)) => Ok(text),
            Err(error) => Err(bad_json(json, &error)),
        },
        Some(b'-' | b'0'..=b'9') => Ok(Cow::Borrowed(json)),
        _ => {
            let start: String = json.chars().take(40).collect();
            let message = format!("the field {name} is {start}, expected a string");
            Err(Flaw::new(message, "write it as a JSON string"))
        }
    }
}

fn bad_json(line: &str, error: &serde_json::Error) -> Flaw {
    let hint = if line.starts_with('[') || line == "{" {
        "write one JSON object a line (jq -c '.[]' turns an array into lines)"
    } else {
        "every line must hold one whole JSON object; a file cut short ends in half a line"
    };
    let reason = error.to_string();
    let reason = reason
        .split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned();
    Flaw::new(
        format!("no JSON object: {reason} at column {}", error.column()),
        hint,
    )
}

fn missing(kind: Kind, line: &str, id: bool) -> Flaw {
    let (what, names) = if id {
        ("id", kind.ids())
    } else {
        ("text", kind.texts())
    };
    let keys = keys_of(line).join(", ");
    let message = format!(
        "no {what}: looked for {}; the keys are {keys}",
        names.join(", ")
    );
    Flaw::new(message, format!("rename the field that holds the {what}"))
}

fn keys_of(line: &str) -> Vec<String> {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line) {
        Ok(object) => object.keys().cloned().collect(),
        Err(_) => Vec::new(),
    }
}
