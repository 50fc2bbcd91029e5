//! Whether what the pool's endpoints speak is what the plan's parsers read.

use pointsman_core::contract::data_layer::Parser;

use crate::router::Router;

/// HTTP/1.1, and HTTP/2 without TLS, as a pool calls them.
const HTTP: &str = "http";
const H2C: &str = "kubernetes.io/h2c";

/// Whether every parser of the plan in force reads what the pool says its endpoints speak. A pool that says nothing asks
/// for nothing.
pub fn is_understood(router: &Router) -> bool {
    let directives = router.directives.load();
    match &directives.app_protocol {
        Some(protocol) => router
            .plan
            .load()
            .parsers
            .iter()
            .all(|it| reads(*it, protocol)),
        None => true,
    }
}

fn reads(parser: Parser, protocol: &str) -> bool {
    match parser {
        Parser::OpenAi | Parser::Anthropic | Parser::VllmHttp => [HTTP, H2C].contains(&protocol),
        Parser::VllmGrpc => protocol == H2C,
        Parser::Passthrough => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_of_grpc_reads_no_http_1() {
        for (parser, http, h2c, other) in [
            (Parser::OpenAi, true, true, false),
            (Parser::Anthropic, true, true, false),
            (Parser::VllmHttp, true, true, false),
            (Parser::VllmGrpc, false, true, false),
            (Parser::Passthrough, true, true, true),
        ] {
            let reads = |protocol| reads(parser, protocol);
            assert_eq!(
                (reads(HTTP), reads(H2C), reads("x")),
                (http, h2c, other),
                "{parser:?}"
            );
        }
    }
}
