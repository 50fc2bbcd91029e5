//! The words in which Go's JSON decoder refuses a text, for answers that have to read like the reference's.
//!
//! A text is walked as Go's scanner walks it, byte by byte; the first byte that cannot stand where it stands is named
//! with what was expected. Only texts that have been found faulty come here, so speed does not matter.

/// Why Go would not take `text` for an object, in its words; `None` if it would.
pub fn complaint(text: &[u8]) -> Option<String> {
    let mut walk = Walk { text, at: 0 };
    match walk.document() {
        Ok(b'{' | b'n') => None,
        Ok(first) => {
            let kind = match first {
                b'[' => "array",
                b'"' => "string",
                b't' | b'f' => "bool",
                _ => "number",
            };
            Some(format!(
                "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            ))
        }
        Err(Fault::End) => Some("unexpected end of JSON input".to_owned()),
        Err(Fault::Deep) => Some("exceeded max depth".to_owned()),
        Err(Fault::Byte(byte, place)) => {
            Some(format!("invalid character {} {place}", quoted(byte)))
        }
    }
}

enum Fault {
    End,
    Deep,
    Byte(u8, &'static str),
}

type Walked<T> = Result<T, Fault>;

/// Go stops here; our own reading stops much earlier.
const MAX_DEPTH: usize = 10_000;

const VALUE: &str = "looking for beginning of value";
const KEY: &str = "looking for beginning of object key string";

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn next(&mut self) -> Walked<u8> {
        let byte = *self.text.get(self.at).ok_or(Fault::End)?;
        self.at += 1;
        Ok(byte)
    }

    /// The next byte that is no white space.
    fn token(&mut self) -> Walked<u8> {
        loop {
            let byte = self.next()?;
            if !is_space(byte) {
                return Ok(byte);
            }
        }
    }

    /// Walks the whole text; the first byte of its value.
    fn document(&mut self) -> Walked<u8> {
        let first = self.token()?;
        self.value(first)?;
        match self.token() {
            Err(Fault::End) => Ok(first),
            Ok(byte) => Err(Fault::Byte(byte, "after top-level value")),
            Err(fault) => Err(fault),
        }
    }

    /// Walks the value that begins with `first`; brackets are on a list, not on the stack.
    fn value(&mut self, first: u8) -> Walked<()> {
        let mut open = Vec::new();
        let mut byte = first;
        loop {
            match byte {
                b'{' => {
                    open.push(b'{');
                    match self.token()? {
                        b'}' => {
                            open.pop();
                        }
                        quote => {
                            self.key(quote)?;
                            byte = self.token()?;
                            continue;
                        }
                    }
                }
                b'[' => {
                    open.push(b'[');
                    byte = self.token()?;
                    if byte != b']' {
                        continue;
                    }
                    open.pop();
                }
                byte => self.plain(byte)?,
            }
            if open.len() > MAX_DEPTH {
                return Err(Fault::Deep);
            }
            // What may follow the value that has just ended.
            loop {
                let Some(bracket) = open.last() else {
                    return Ok(());
                };
                match (bracket, self.token()?) {
                    (b'{', b'}') | (b'[', b']') => {
                        open.pop();
                    }
                    (b'{', b',') => {
                        let quote = self.token()?;
                        self.key(quote)?;
                        byte = self.token()?;
                        break;
                    }
                    (b'[', b',') => {
                        byte = self.token()?;
                        break;
                    }
                    (b'{', other) => {
                        return Err(Fault::Byte(other, "after object key:value pair"));
                    }
                    (_, other) => return Err(Fault::Byte(other, "after array element")),
                }
            }
        }
    }

    fn key(&mut self, quote: u8) -> Walked<()> {
        if quote != b'"' {
            return Err(Fault::Byte(quote, KEY));
        }
        self.string()?;
        match self.token()? {
            b':' => Ok(()),
            other => Err(Fault::Byte(other, "after object key")),
        }
    }

    fn plain(&mut self, first: u8) -> Walked<()> {
        match first {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(first),
            b't' => self.word(&[
                (b'r', "in literal true (expecting 'r')"),
                (b'u', "in literal true (expecting 'u')"),
                (b'e', "in literal true (expecting 'e')"),
            ]),
            b'f' => self.word(&[
                (b'a', "in literal false (expecting 'a')"),
                (b'l', "in literal false (expecting 'l')"),
                (b's', "in literal false (expecting 's')"),
                (b'e', "in literal false (expecting 'e')"),
            ]),
            b'n' => self.word(&[
                (b'u', "in literal null (expecting 'u')"),
                (b'l', "in literal null (expecting 'l')"),
                (b'l', "in literal null (expecting 'l')"),
            ]),
            other => Err(Fault::Byte(other, VALUE)),
        }
    }

    fn word(&mut self, letters: &[(u8, &'static str)]) -> Walked<()> {
        for (letter, place) in letters {
            let byte = self.next()?;
            if byte != *letter {
                return Err(Fault::Byte(byte, place));
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Walked<()> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let digit = self.next()?;
                            if !digit.is_ascii_hexdigit() {
                                return Err(Fault::Byte(
                                    digit,
                                    "in \\u hexadecimal character escape",
                                ));
                            }
                        }
                    }
                    other => return Err(Fault::Byte(other, "in string escape code")),
                },
                control if control < 0x20 => {
                    return Err(Fault::Byte(control, "in string literal"));
                }
                _ => {}
            }
        }
    }

    fn number(&mut self, first: u8) -> Walked<()> {
        let mut digit = first;
        if first == b'-' {
            digit = self.next()?;
            if !digit.is_ascii_digit() {
                return Err(Fault::Byte(digit, "in numeric literal"));
            }
        }
        if digit != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.needs_digit("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.needs_digit("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn needs_digit(&mut self, place: &'static str) -> Walked<()> {
        let byte = self.next()?;
        if !byte.is_ascii_digit() {
            return Err(Fault::Byte(byte, place));
        }
        self.digits();
        Ok(())
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A byte as Go quotes it: as a character of its own, for Go looks at bytes.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0x20..=0x7e => format!("'{}'", char::from(byte)),
        0xa1..=0xac | 0xae..=0xff => format!("'{}'", char::from(byte)),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'\\x{byte:02x}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(
            complaint(text.as_bytes()).as_deref(),
            Some(expected),
            "{text}"
        );
    }

    #[test]
    fn faults_are_told_in_go_s_words() {
        let end = "unexpected end of JSON input";
        for cut in [
            "",
            " ",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":[1,",
            "\"x",
            "tr",
            "{\"a\":-",
        ] {
            check(cut, end);
        }
        check(
            "not json",
            "invalid character 'o' in literal null (expecting 'u')",
        );
        check(
            "hello",
            "invalid character 'h' looking for beginning of value",
        );
        check(
            "{'a':1}",
            r"invalid character '\'' looking for beginning of object key string",
        );
        check("{\"a\" 1}", "invalid character '1' after object key");
        check(
            "{\"a\":1 \"b\"}",
            "invalid character '\"' after object key:value pair",
        );
        check(
            "{\"a\":1,}",
            "invalid character '}' looking for beginning of object key string",
        );
        check("{\"a\":[1 2]}", "invalid character '2' after array element");
        check(
            "{\"a\":[1,]}",
            "invalid character ']' looking for beginning of value",
        );
        check("{\"a\":1}x", "invalid character 'x' after top-level value");
        check("{\"a\":1}}", "invalid character '}' after top-level value");
        check(
            "{\"a\":\"\n\"}",
            r"invalid character '\n' in string literal",
        );
        check(
            r#"{"a":"\x"}"#,
            "invalid character 'x' in string escape code",
        );
        check(
            r#"{"a":"\u12g4"}"#,
            r"invalid character 'g' in \u hexadecimal character escape",
        );
        check(
            "{\"a\":01}",
            "invalid character '1' after object key:value pair",
        );
        check(
            "{\"a\":1.}",
            "invalid character '}' after decimal point in numeric literal",
        );
        check(
            "{\"a\":1e}",
            "invalid character '}' in exponent of numeric literal",
        );
        check("{\"a\":-x}", "invalid character 'x' in numeric literal");
        check(
            "{\"a\":falsy}",
            "invalid character 'y' in literal false (expecting 'e')",
        );
        check(
            "\u{feff}{}",
            "invalid character 'ï' looking for beginning of value",
        );
        check(
            "{\"a\":\u{1}}",
            r"invalid character '\x01' looking for beginning of value",
        );
    }

    #[test]
    fn what_is_no_object_is_named() {
        let no_object = |kind: &str| {
            format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
        };
        check("[1,2]", &no_object("array"));
        check("\"text\"", &no_object("string"));
        check(" 12 ", &no_object("number"));
        check("true", &no_object("bool"));
        assert_eq!(complaint(b"null"), None);
        assert_eq!(
            complaint(b"{\"a\":[{},[],null,true,-1.5e+3,\"\\u00e4\"]}"),
            None
        );
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = "[".repeat(200_000);
        assert!(complaint(deep.as_bytes()).is_some());
    }
}
