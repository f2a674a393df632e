//! Whether a proxy stands before the API server: the kubeconfig's own, or that of the environment unless `NO_PROXY` excepts
//! the server. The rules are those of kubectl.

use std::net::IpAddr;

use http::Uri;

use super::problem::Problem;

/// The schemes we can speak through.
const SPOKEN: [&str; 3] = ["http", "https", "socks5"];

/// The proxy on the way to `server`; `own` is what the kubeconfig says, which nothing excepts.
pub fn proxy(
    server: &Uri,
    own: Option<&str>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, Problem> {
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        return parsed(own, "proxy-url in the kubeconfig").map(Some);
    }
    let either = |name: &str| {
        let found =
            |name: &str| environment(name).filter(|value| !value.is_empty()).map(|value| (name.to_owned(), value));
        found(name).or_else(|| found(&name.to_ascii_lowercase()))
    };
    let variable = if server.scheme_str() == Some("http") { "HTTP_PROXY" } else { "HTTPS_PROXY" };
    let Some((name, url)) = either(variable) else { return Ok(None) };
    if either("NO_PROXY").is_some_and(|(_, list)| excepted(server, &list)) {
        return Ok(None);
    }
    parsed(&url, &name).map(Some)
}

fn parsed(text: &str, place: &str) -> Result<Uri, Problem> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Uri = whole.parse().map_err(|_| {
        // not the text, which may hold a password
        Problem::new("the address of the proxy cannot be read", "write it such as http://proxy.example.com:3128")
            .at(place)
    })?;
    match url.scheme_str() {
        Some(scheme) if SPOKEN.contains(&scheme) && url.host().is_some() => Ok(url),
        scheme => Err(Problem::new(
            format!("a proxy of the kind {:?} cannot be used", scheme.unwrap_or_default()),
            format!("name one of {}, or except the server with NO_PROXY", SPOKEN.join(", ")),
        )
        .at(place)),
    }
}

/// Whether the list excepts the server: `*`, addresses, networks, and names, which except what lies below them too. This
/// machine is always excepted.
fn excepted(server: &Uri, list: &str) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            let network: Option<IpAddr> = network.parse().ok();
            return within(address, network, bits.parse().ok());
        }
        if let Ok(entry) = entry.parse::<IpAddr>() {
            return address == Some(entry);
        }
        let (name, of_port) = match entry.rsplit_once(':') {
            Some((name, digits)) => (name, digits.parse::<u16>().ok()),
            None => (entry.as_str(), Some(port)),
        };
        if of_port != Some(port) {
            return false;
        }
        let name = name.trim_matches(['[', ']']).trim_start_matches('*');
        if let Ok(entry) = name.parse::<IpAddr>() {
            return address == Some(entry);
        }
        match name.strip_prefix('.') {
            Some(below) => host.strip_suffix(below).is_some_and(|front| front.ends_with('.')),
            None => host == name || host.strip_suffix(name).is_some_and(|front| front.ends_with('.')),
        }
    })
}

/// Whether the address lies in the network of so many bits.
fn within(address: Option<IpAddr>, network: Option<IpAddr>, bits: Option<u32>) -> bool {
    let (address, network, width): (u128, u128, u32) = match (address, network) {
        (Some(IpAddr::V4(address)), Some(IpAddr::V4(network))) => {
            (u128::from(address.to_bits()), u128::from(network.to_bits()), 32)
        }
        (Some(IpAddr::V6(address)), Some(IpAddr::V6(network))) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let Some(ignored) = bits.and_then(|bits| width.checked_sub(bits)) else { return false };
    // a shift by all 128 bits leaves nothing, which is what a network of no bits means
    address.checked_shr(ignored).unwrap_or(0) == network.checked_shr(ignored).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(server: &str, own: Option<&str>, environment: &[(&str, &str)]) -> Result<Option<String>, Problem> {
        let variable =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let server = server.parse().expect("an address");
        proxy(&server, own, variable).map(|found| found.map(|url| url.to_string()))
    }

    const PROXY: (&str, &str) = ("HTTPS_PROXY", "http://proxy:3128");

    #[test]
    fn the_kubeconfigs_own_proxy_goes_before_the_environments() {
        let server = "https://api.example.com:6443";
        let own = through(server, Some("socks5://near:1080"), &[PROXY, ("NO_PROXY", "*")]).expect("a proxy");
        assert_eq!(own.as_deref(), Some("socks5://near:1080/"));
        assert_eq!(through(server, None, &[PROXY]).expect("a proxy").as_deref(), Some("http://proxy:3128/"));
        let lower = through(server, Some(""), &[("https_proxy", "proxy:3128")]).expect("a proxy");
        assert_eq!(lower.as_deref(), Some("http://proxy:3128/"));
        assert_eq!(through("http://api:80", None, &[PROXY]).expect("none for plain HTTP"), None);
        assert_eq!(through(server, None, &[]).expect("none"), None);
    }

    #[test]
    fn what_is_excepted_is_reached_directly() {
        for (server, list) in [
            ("https://api.example.com:6443", "example.com"),
            ("https://api.example.com:6443", "other, .example.com"),
            ("https://api.example.com:6443", "*.example.com,"),
            ("https://api.example.com:6443", "API.example.com:6443"),
            ("https://10.1.2.3:6443", "10.0.0.0/8"),
            ("https://10.1.2.3:6443", "10.1.2.3"),
            ("https://[fd00::1]:6443", "fd00::/8"),
            ("https://[fd00::1]:6443", "::/0"),
            ("https://anything", "*"),
            ("https://127.0.0.1:6443", "other"),
            ("https://localhost:6443", "other"),
        ] {
            assert_eq!(through(server, None, &[PROXY, ("NO_PROXY", list)]), Ok(None), "{server} {list}");
        }
        for (server, list) in [
            ("https://api.example.com:6443", ""),
            ("https://api.example.com:6443", "api.example.com:443"),
            ("https://example.com", ".example.com"),
            ("https://badexample.com", "example.com"),
            ("https://10.1.2.3:6443", "10.2.0.0/16,10.1.2.0/33,10.1.2.3/x"),
            ("https://10.1.2.3:6443", "fd00::/8"),
        ] {
            let found = through(server, None, &[PROXY, ("NO_PROXY", list)]).expect("a proxy");
            assert!(found.is_some(), "{server} {list}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
        for (url, part) in [("socks5h://me:s3cret@p:1", "\"socks5h\""), ("http://me:s3cret@[", "cannot be read")] {
            let told = through("https://api:6443", None, &[("HTTPS_PROXY", url)]).expect_err(url).to_string();
            assert!(told.contains(part) && told.contains("(HTTPS_PROXY)") && !told.contains("s3cret"), "{told}");
        }
    }
}
