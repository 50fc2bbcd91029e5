//! The live page: a few hand-written files inside the binary, served as they are.
//!
//! The page asks nobody but this port, and its browser is told to see to that: no inline scripts, no other origin.

use http::{Response, StatusCode, header};
use pointsman_http::Body;

/// What the browser may load and do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, type and text of every file.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", SCRIPT, include_str!("page/page.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/stream.js", SCRIPT, include_str!("page/stream.js")),
    ("/decision.js", SCRIPT, include_str!("page/decision.js")),
    ("/matrix.js", SCRIPT, include_str!("page/matrix.js")),
    ("/whatif.js", SCRIPT, include_str!("page/whatif.js")),
    ("/load.js", SCRIPT, include_str!("page/load.js")),
    ("/plan.js", SCRIPT, include_str!("page/plan.js")),
    ("/warnings.js", SCRIPT, include_str!("page/warnings.js")),
];

/// The file of a path.
pub fn file(path: &str) -> Option<Response<Body>> {
    let (_, kind, text) = FILES.iter().find(|(known, _, _)| *known == path)?;
    let mut response = Response::new(Body::bytes(*text));
    *response.status_mut() = StatusCode::OK;
    for (name, value) in [
        (header::CONTENT_TYPE, *kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response
            .headers_mut()
            .insert(name, header::HeaderValue::from_static(value));
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let mut named = 0;
        for (path, _, text) in FILES {
            let imports = text.split("from \"").skip(1).map(|rest| (".", rest));
            let links = ["src=\"", "href=\""];
            let links = links.iter().flat_map(|mark| text.split(mark).skip(1));
            for (from, rest) in imports.chain(links.map(|rest| ("", rest))) {
                let target = rest.split('"').next().unwrap();
                let target = target.strip_prefix(from).unwrap();
                if target.starts_with("data:") || *path != "/" && from.is_empty() {
                    continue;
                }
                named += 1;
                assert!(file(target).is_some(), "{path} names {target}");
            }
        }
        assert!(named > FILES.len(), "{named} names were found");
    }

    #[test]
    fn nothing_in_it_makes_markup_from_data_or_names_another_host() {
        for (path, _, text) in FILES {
            let forbidden = [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "http://",
                "https://",
                "style=\"",
                " onclick=",
                "@import",
            ];
            for word in forbidden {
                // The icon is a picture inside its own link; its namespace is no address.
                let text = text.replace("xmlns='http://www.w3.org/2000/svg'", "");
                assert!(!text.contains(word), "{path} contains {word}");
            }
        }
    }

    #[test]
    fn the_browser_is_told_to_ask_nobody_else() {
        let response = file("/").unwrap();
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(
            response.headers()[header::X_CONTENT_TYPE_OPTIONS],
            "nosniff"
        );
    }
}
