//! What is refused: each vector with its name, its bytes and its status.

/// A request with this request line and these further lines, and a body.
pub(crate) fn head(line: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("{line}\r\n{fields}\r\n{body}").into_bytes()
}

/// The request line of a chat request.
pub(crate) const POST: &str = "POST /v1/chat/completions HTTP/1.1";
/// Its body.
pub(crate) const JSON: &str = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;

/// A chat request with these further lines.
pub(crate) fn post(fields: &str, body: &str) -> Vec<u8> {
    head(POST, &format!("host: a\r\n{fields}"), body)
}

fn chunked(body: &str) -> Vec<u8> {
    post("transfer-encoding: chunked\r\n", body)
}

/// Every vector: what it is, its bytes, the status it is refused with.
pub(crate) fn refused() -> Vec<(&'static str, Vec<u8>, u16)> {
    let one = format!("{:x}\r\n{JSON}\r\n0\r\n\r\n", JSON.len());
    let length = format!("content-length: {}\r\n", JSON.len());
    let target = |target: &str| head(&format!("GET {target} HTTP/1.1"), "host: a\r\n", "");
    let field = |bytes: &[u8]| [b"GET /x HTTP/1.1\r\nhost: a\r\n", bytes, b"\r\n\r\n"].concat();
    let mut vectors = vec![
        (
            "length and coding",
            post(&format!("{length}transfer-encoding: chunked\r\n"), &one),
            400,
        ),
        (
            "coding and length",
            post(&format!("transfer-encoding: chunked\r\n{length}"), &one),
            400,
        ),
        (
            "length 0 and coding",
            post("content-length: 0\r\ntransfer-encoding: chunked\r\n", &one),
            400,
        ),
        (
            "two different lengths",
            post(&format!("{length}content-length: 3\r\n"), JSON),
            400,
        ),
        (
            "two equal lengths",
            post(&format!("{length}{length}"), JSON),
            400,
        ),
        (
            "a list of lengths",
            post("content-length: 5, 5\r\n", "hello"),
            400,
        ),
        (
            "a negative length",
            post("content-length: -1\r\n", JSON),
            400,
        ),
        (
            "a length with plus",
            post("content-length: +5\r\n", "hello"),
            400,
        ),
        (
            "a hexadecimal length",
            post("content-length: 0x5\r\n", "hello"),
            400,
        ),
        (
            "a length with a space inside",
            post("content-length: 5 5\r\n", "hello"),
            400,
        ),
        ("an empty length", post("content-length:\r\n", ""), 400),
        (
            "a length beyond 64 bits",
            post("content-length: 18446744073709551617\r\n", JSON),
            400,
        ),
        (
            "coding xchunked",
            post("transfer-encoding: xchunked\r\n", &one),
            400,
        ),
        (
            "coding chunked, identity",
            post("transfer-encoding: chunked, identity\r\n", &one),
            400,
        ),
        (
            "coding identity",
            post(&format!("transfer-encoding: identity\r\n{length}"), JSON),
            400,
        ),
        (
            "coding gzip, chunked",
            post("transfer-encoding: gzip, chunked\r\n", &one),
            400,
        ),
        (
            "coding chunked, chunked",
            post("transfer-encoding: chunked, chunked\r\n", &one),
            400,
        ),
        (
            "coding in quotes",
            post("transfer-encoding: \"chunked\"\r\n", &one),
            400,
        ),
        (
            "coding with a parameter",
            post("transfer-encoding: chunked;q=1\r\n", &one),
            400,
        ),
        ("an empty coding", post("transfer-encoding:\r\n", ""), 400),
        (
            "coding twice",
            post(
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
                &one,
            ),
            400,
        ),
        (
            "coding twice, one unknown",
            post(
                "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n",
                &one,
            ),
            400,
        ),
        (
            "a space before the colon",
            post("transfer-encoding : chunked\r\n", &one),
            400,
        ),
        (
            "a tab before the colon",
            post("transfer-encoding\t: chunked\r\n", &one),
            400,
        ),
        (
            "a vertical tab before the colon",
            post("transfer-encoding\x0b: chunked\r\n", &one),
            400,
        ),
        (
            "a vertical tab before the value",
            post("transfer-encoding:\x0bchunked\r\n", &one),
            400,
        ),
        (
            "coding in HTTP/1.0",
            head(
                "POST /v1/chat/completions HTTP/1.0",
                "host: a\r\ntransfer-encoding: chunked\r\n",
                &one,
            ),
            400,
        ),
        ("a folded line", post("x-a: b\r\n c\r\n", ""), 400),
        ("a folded line with tab", post("x-a: b\r\n\tc\r\n", ""), 400),
        (
            "a folded first field",
            head("GET /x HTTP/1.1", " host: a\r\n", ""),
            400,
        ),
        (
            "bare line feeds",
            b"GET /x HTTP/1.1\nhost: a\n\n".to_vec(),
            400,
        ),
        ("one bare line feed", field(b"x-a: b\nx-c: d"), 400),
        (
            "a bare carriage return in a value",
            field(b"x-a: b\rx-c: d"),
            400,
        ),
        (
            "a bare carriage return as line end",
            b"GET /x HTTP/1.1\rhost: a\r\r\n\r\n".to_vec(),
            400,
        ),
        ("NUL in a name", field(b"x\0a: b"), 400),
        ("NUL in a value", field(b"x-a: b\0c"), 400),
        ("a control byte in a value", field(b"x-a: b\x01c"), 400),
        ("DEL in a value", field(b"x-a: b\x7fc"), 400),
        ("a space in a name", field(b"x a: b"), 400),
        ("an empty name", field(b": b"), 400),
        ("no colon", field(b"x-a"), 400),
        ("a name beyond ASCII", field("x-ä: b".as_bytes()), 400),
        ("an underscore in a name", field(b"x_a: b"), 400),
        (
            "a coding with underscore",
            post("transfer_encoding: chunked\r\n", ""),
            400,
        ),
        ("no Host", head("GET /x HTTP/1.1", "x-a: b\r\n", ""), 400),
        (
            "two Hosts",
            head("GET /x HTTP/1.1", "host: a\r\nhost: b\r\n", ""),
            400,
        ),
        (
            "two equal Hosts",
            head("GET /x HTTP/1.1", "host: a\r\nHost: a\r\n", ""),
            400,
        ),
        (
            "a list of Hosts",
            head("GET /x HTTP/1.1", "host: a, b\r\n", ""),
            400,
        ),
        (
            "a Host with a path",
            head("GET /x HTTP/1.1", "host: a/b\r\n", ""),
            400,
        ),
        (
            "a Host with a user",
            head("GET /x HTTP/1.1", "host: u@a\r\n", ""),
            400,
        ),
        ("HTTP/0.9", b"GET /x\r\n\r\n".to_vec(), 400),
        ("HTTP/2.5", head("GET /x HTTP/2.5", "host: a\r\n", ""), 400),
        ("HTTP/1.2", head("GET /x HTTP/1.2", "host: a\r\n", ""), 400),
        (
            "http/1.1 in small letters",
            head("GET /x http/1.1", "host: a\r\n", ""),
            400,
        ),
        (
            "something behind the version",
            head("GET /x HTTP/1.1 x", "host: a\r\n", ""),
            400,
        ),
        (
            "another preface",
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
            400,
        ),
        (
            "absolute form with another Host",
            head("GET http://b/x HTTP/1.1", "host: a\r\n", ""),
            400,
        ),
        (
            "absolute form with a user",
            head("GET http://u@a/x HTTP/1.1", "host: a\r\n", ""),
            400,
        ),
        (
            "absolute form of another scheme",
            head("GET ftp://a/x HTTP/1.1", "host: a\r\n", ""),
            400,
        ),
        (
            "a tunnel",
            head("CONNECT a:443 HTTP/1.1", "host: a:443\r\n", ""),
            400,
        ),
        (
            "a method too long",
            head(
                &format!("{} /x HTTP/1.1", "M".repeat(100)),
                "host: a\r\n",
                "",
            ),
            400,
        ),
        (
            "a malformed method",
            head("GE(T /x HTTP/1.1", "host: a\r\n", ""),
            400,
        ),
        (
            "our own stand-in",
            head("- /x HTTP/1.1", "host: a\r\n", ""),
            400,
        ),
        (
            "tabs in the request line",
            head("GET\t/x\tHTTP/1.1", "host: a\r\n", ""),
            400,
        ),
        (
            "two spaces in the request line",
            head("GET  /x HTTP/1.1", "host: a\r\n", ""),
            400,
        ),
        ("a space in the target", target("/x y"), 400),
        ("a fragment in the target", target("/x#y"), 400),
        ("a backslash in the target", target("/x\\y"), 400),
        ("NUL in the target", target("/x\0y"), 400),
        ("a target beyond ASCII", target("/ä"), 400),
        ("a relative target", target("x"), 400),
        ("an asterisk to GET", target("*"), 400),
        (
            "three empty lines first",
            b"\r\n\r\n\r\nGET /x HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            400,
        ),
        (
            "a space first",
            b" GET /x HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            400,
        ),
        (
            "a TLS greeting",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n".to_vec(),
            400,
        ),
        (
            "a field over 8 KiB",
            field(format!("x-a: {}", "b".repeat(9000)).as_bytes()),
            431,
        ),
        (
            "a target over 8 KiB",
            target(&format!("/{}", "b".repeat(9000))),
            431,
        ),
        (
            "over 100 fields",
            field("x-a: b\r\n".repeat(101).trim_end().as_bytes()),
            431,
        ),
        (
            "over 32 KiB",
            field(
                format!("x-a: {}\r\n", "b".repeat(4000))
                    .repeat(9)
                    .trim_end()
                    .as_bytes(),
            ),
            431,
        ),
    ];
    // The head is good, the body is not.
    let data = |before: &str, after: &str| chunked(&format!("{before}{JSON}{after}"));
    let size = format!("{:x}", JSON.len());
    let end = "\r\n0\r\n\r\n";
    vectors.extend([
        (
            "a chunk size with 0x",
            data(&format!("0x{size}\r\n"), end),
            400,
        ),
        (
            "a chunk size with plus",
            data(&format!("+{size}\r\n"), end),
            400,
        ),
        ("a negative chunk size", data("-1\r\n", end), 400),
        ("an empty chunk size", data("\r\n", end), 400),
        (
            "a chunk size beyond 64 bits",
            data("fffffffffffffffff\r\n", end),
            400,
        ),
        (
            "a chunk size in quotes",
            data(&format!("\"{size}\"\r\n"), end),
            400,
        ),
        (
            "a space after a chunk size",
            data(&format!("{size} \r\n"), end),
            400,
        ),
        (
            "a space before a chunk size",
            data(&format!(" {size}\r\n"), end),
            400,
        ),
        (
            "a bare line feed after a chunk size",
            data(&format!("{size}\n"), end),
            400,
        ),
        (
            "a control byte in a chunk extension",
            data(&format!("{size};a\x01\r\n"), end),
            400,
        ),
        (
            "a chunk extension too long",
            data(&format!("{size};{}\r\n", "a".repeat(20_000)), end),
            400,
        ),
        (
            "chunk extensions too many",
            chunked(&format!("1;{}\r\n{{\r\n", "a".repeat(900)).repeat(20)),
            400,
        ),
        ("a chunk longer than its size", data("3\r\n", end), 400),
        (
            "no line end after a chunk",
            data(&format!("{size}\r\n"), "0\r\n\r\n"),
            400,
        ),
        (
            "a bare line feed after a chunk",
            data(&format!("{size}\r\n"), "\n0\r\n\r\n"),
            400,
        ),
        (
            "a bad trailer",
            data(&format!("{size}\r\n"), "\r\n0\r\nx a: b\r\n\r\n"),
            400,
        ),
        (
            "a length in the trailers",
            data(&format!("{size}\r\n"), "\r\n0\r\ncontent-length: 5\r\n\r\n"),
            400,
        ),
        (
            "a coding in the trailers",
            data(
                &format!("{size}\r\n"),
                "\r\n0\r\nTransfer-Encoding: x\r\n\r\n",
            ),
            400,
        ),
        (
            "trailers too large",
            data(
                &format!("{size}\r\n"),
                &format!("\r\n0\r\n{}\r\n", "x-a: b\r\n".repeat(2000)),
            ),
            400,
        ),
    ]);
    vectors
}
