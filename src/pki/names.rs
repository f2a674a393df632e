//! Names in certificates: DNS names, also with a star for the first label, and IP addresses.

use std::net::IpAddr;

use rcgen::SanType;

use super::PkiError;

/// As it is written into a certificate.
pub fn subject(name: &str) -> Result<SanType, PkiError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = |reason| PkiError::Name { name: name.to_owned(), reason };
    check(name).map_err(wrong)?;
    let text = name.to_ascii_lowercase().try_into().map_err(|_| wrong("it has letters that names cannot have"))?;
    Ok(SanType::DnsName(text))
}

fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 253 {
        return Err("names have 1 to 253 characters");
    }
    for (at, label) in name.split('.').enumerate() {
        if at == 0 && label == "*" && name.len() > 2 {
            continue;
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if label.is_empty() || label.len() > 63 || !label.chars().all(allowed) {
            return Err("use labels of letters, digits and dashes, at most 63 characters each, with dots between them");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a label neither begins nor ends with a dash");
        }
    }
    Ok(())
}

/// In the form in which names are compared.
pub fn normal(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}

/// Whether a name of a certificate stands for this one; a star for exactly one label.
pub fn covers(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (normal(pattern), normal(name));
    if name.parse::<IpAddr>().is_ok() {
        return pattern == name;
    }
    match (pattern.strip_prefix("*."), name.split_once('.')) {
        (Some(rest), Some((first, parent))) => !first.is_empty() && rest == parent,
        _ => pattern == name,
    }
}
