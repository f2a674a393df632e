//! How a stronger layer is laid over a weaker one: key by key for what people set key by key.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::values::{Quantity, Resources};

/// Requests and limits, each by resource.
pub fn resources(weaker: &mut Resources, stronger: &Resources) {
    let lay = |weaker: &mut Option<BTreeMap<String, Quantity>>, stronger: &Option<BTreeMap<String, Quantity>>| {
        if let Some(stronger) = stronger {
            weaker.get_or_insert_default().extend(stronger.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
    };
    lay(&mut weaker.requests, &stronger.requests);
    lay(&mut weaker.limits, &stronger.limits);
}

/// Plain objects: each field that the stronger one has.
pub fn fields<T: Serialize + DeserializeOwned + Clone>(weaker: &T, stronger: &T) -> T {
    let (Ok(Value::Object(mut merged)), Ok(Value::Object(over))) =
        (serde_json::to_value(weaker), serde_json::to_value(stronger))
    else {
        return stronger.clone();
    };
    merged.extend(over);
    serde_json::from_value(Value::Object(merged)).unwrap_or_else(|_| stronger.clone())
}
