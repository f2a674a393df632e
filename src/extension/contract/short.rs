//! Short forms: a bare number, text or list where a full object would say nothing more.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Something that can be written in a shorter way than as an object.
pub trait Short: Sized {
    /// What a person may write, for the error message.
    const FORMS: &'static str;

    fn full<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    fn from_text(_: &str) -> Option<Self> {
        None
    }

    fn from_number(_: u64) -> Option<Self> {
        None
    }

    fn from_list(_: Vec<String>) -> Option<Self> {
        None
    }
}

/// Reads either form.
pub fn read<'de, T: Short, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Forms(PhantomData))
}

struct Forms<T>(PhantomData<T>);

impl<'de, T: Short> Visitor<'de> for Forms<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::FORMS)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::from_number(number).ok_or_else(|| E::invalid_type(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        u64::try_from(number)
            .ok()
            .and_then(T::from_number)
            .ok_or_else(|| E::invalid_type(de::Unexpected::Signed(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        let list = Vec::<String>::deserialize(SeqAccessDeserializer::new(list))?;
        T::from_list(list).ok_or_else(|| de::Error::invalid_type(de::Unexpected::Seq, &Forms::<T>(PhantomData)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::full(MapAccessDeserializer::new(map))
    }
}

/// Joins the short forms to the derived reading and writing of the full one, which stand on the type itself
/// (`#[serde(remote = "Self")]`).
macro_rules! short_forms {
    ($type:ident, $forms:literal $(, $method:ident($argument:ident: $from:ty) $body:block)+) => {
        impl $crate::extension::contract::short::Short for $type {
            const FORMS: &'static str = $forms;

            fn full<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::deserialize(deserializer)
            }

            $(fn $method($argument: $from) -> Option<Self> $body)+
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::extension::contract::short::read(deserializer)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }
    };
}

pub(crate) use short_forms;

/// A schema that takes `short` as well as what was derived.
pub fn or(schema: &mut schemars::Schema, short: &serde_json::Value) {
    let full = std::mem::take(schema);
    let description = full.get("description").cloned();
    *schema = schemars::json_schema!({ "anyOf": [full, short] });
    if let Some(description) = description {
        schema.insert("description".to_owned(), description);
    }
}
