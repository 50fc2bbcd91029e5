//! The scanner: a table of texts, and properties against serde_json: the same pass, the same do not.

use pointsman_wire::json::fault::{JsonFault, JsonFaultKind};
use pointsman_wire::json::scanner::{Kind, Scanner};
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

fn accepts(text: &[u8], size: usize) -> Result<(), JsonFault> {
    let frames: Vec<&[u8]> = text.chunks(size).collect();
    let mut scanner = Scanner::new(&frames);
    scanner.skip_value()?;
    scanner.end()
}

#[track_caller]
fn check(text: impl AsRef<[u8]>, expected: Result<(), (usize, JsonFaultKind)>) {
    let text = text.as_ref();
    let whole = [text];
    let single: Vec<&[u8]> = text.chunks(1).collect();
    let triple: Vec<&[u8]> = text.chunks(3).collect();
    for frames in [&whole[..], &single[..], &triple[..]] {
        let mut scanner = Scanner::new(frames);
        let got = scanner.skip_value().and_then(|_| scanner.end());
        assert_eq!(
            got.map_err(|fault| (fault.offset, fault.kind)),
            expected,
            "{:?}",
            String::from_utf8_lossy(text)
        );
    }
}

#[test]
fn whole_texts_pass() {
    for text in [
        "{}",
        "[]",
        "0",
        "-0",
        "-0.5e-7",
        "1E+400",
        "\"\"",
        "true",
        " null\r\n\t",
        "{\"a\":[1,{\"b\":{}},[]],\"c\":\"\\u00e9\\ud83d\\ude00\\ud800 é 漢 😀 \\\"\\\\\\/\\b\\f\\n\\r\\t\"}",
        "[[],[],{},{\"\":0}]",
        "{\"a\":1,\"a\":2}",
        "\"\u{7f}\u{10ffff}\"",
    ] {
        check(text, Ok(()));
    }
}

#[test]
fn broken_texts_are_refused_where_they_break() {
    use JsonFaultKind::*;
    check("", Err((0, UnexpectedEnd)));
    check("{", Err((1, UnexpectedEnd)));
    check("{\"a", Err((3, UnexpectedEnd)));
    check("{\"a\"", Err((4, UnexpectedEnd)));
    check("{\"a\":", Err((5, UnexpectedEnd)));
    check("{\"a\":1", Err((6, UnexpectedEnd)));
    check("{\"a\":1,}", Err((7, Expected("a key in quotes"))));
    check("{\"a\" 1}", Err((5, Expected("':'"))));
    check("{\"a\":1 \"b\"", Err((7, Expected("',' or '}'"))));
    check("{a:1}", Err((1, Expected("a key in quotes"))));
    check("[1,]", Err((3, Expected("a value"))));
    check("[1}", Err((2, Expected("',' or ']'"))));
    check("{\"a\":1]", Err((6, Expected("',' or '}'"))));
    check("[,1]", Err((1, Expected("a value"))));
    check("]", Err((0, Expected("a value"))));
    check("{}x", Err((2, TrailingText)));
    check("{}{}", Err((2, TrailingText)));
    check("01", Err((1, TrailingText)));
    check("1.", Err((2, UnexpectedEnd)));
    check("1.x", Err((2, BadNumber)));
    check("-", Err((1, UnexpectedEnd)));
    check("-x", Err((1, BadNumber)));
    check("+1", Err((0, Expected("a value"))));
    check("1e+]", Err((3, BadNumber)));
    check("NaN", Err((0, Expected("a value"))));
    check("nul]", Err((0, Expected("a value"))));
    check("tru", Err((3, UnexpectedEnd)));
    check("\"\\x\"", Err((1, BadEscape)));
    check("\"ab\\u12G4\"", Err((3, BadEscape)));
    check("\"\\u12", Err((5, UnexpectedEnd)));
    check("\"a\nb\"", Err((2, ControlCharacter)));
    check(b"\"a\0b\"", Err((2, ControlCharacter)));
    check(b"\"\xff\"", Err((1, BadUtf8)));
    check(b"\"\xc0\xaf\"", Err((1, BadUtf8)));
    check(b"\"\xed\xa0\x80\"", Err((1, BadUtf8)));
    check(b"\"\xf4\x90\x80\x80\"", Err((1, BadUtf8)));
    check(b"\"\xe6\xbc\"", Err((1, BadUtf8)));
    check(b"\"\xe6\xbc", Err((3, UnexpectedEnd)));
    check(b"\xef\xbb\xbf{}", Err((0, Expected("a value"))));
}

#[test]
fn a_hundred_and_twenty_eight_levels_pass_and_one_more_does_not() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    check(nested(128), Ok(()));
    check(nested(129), Err((128, JsonFaultKind::TooDeep)));
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    check(objects(128), Ok(()));
    check(objects(129), Err((128 * 5, JsonFaultKind::TooDeep)));
    check("[".repeat(1_000_000), Err((128, JsonFaultKind::TooDeep)));
}

/// Walks the whole text through the typed calls and builds it again.
fn rebuild(scanner: &mut Scanner<'_, &[u8]>) -> Result<Value, JsonFault> {
    Ok(match scanner.kind()? {
        Kind::Object => {
            let mut object = serde_json::Map::new();
            let mut first = true;
            scanner.enter_object()?;
            while let Some(key) = scanner.next_key(&mut first)? {
                let value = rebuild(scanner)?;
                object.insert(scanner.text(&key).into_owned(), value);
            }
            Value::Object(object)
        }
        Kind::List => {
            let mut list = Vec::new();
            let mut first = true;
            scanner.enter_list()?;
            while scanner.next_element(&mut first)? {
                list.push(rebuild(scanner)?);
            }
            Value::Array(list)
        }
        Kind::Str => {
            let read = scanner.string()?;
            Value::String(scanner.text(&read).into_owned())
        }
        Kind::Number => {
            let range = scanner.number()?;
            serde_json::from_slice(&scanner.bytes(&range)).unwrap()
        }
        Kind::Bool => Value::Bool(scanner.boolean()?),
        Kind::Null => {
            scanner.skip_value()?;
            Value::Null
        }
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z ]{0,90}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Bytes that decide something in a JSON text.
const TELLING: &[u8] = b"{}[]:,\"\\/bfnrtu019.-+eE \n\x00\x1f\x7f\x80\xc3\xe9\xff\xf0truefalsnx";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn whole_texts_pass_and_read_back(value in value(), pretty: bool, size in 1_usize..40) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert_eq!(accepts(&text, size), Ok(()));
        let frames: Vec<&[u8]> = text.chunks(size).collect();
        let mut scanner = Scanner::new(&frames);
        prop_assert_eq!(rebuild(&mut scanner).unwrap(), serde_json::from_slice::<Value>(&text).unwrap());
        prop_assert!(scanner.at_end());
    }

    #[test]
    fn hurt_texts_pass_where_serde_lets_them_pass(
        value in value(),
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(TELLING),
        how in 0..4,
        size in 1_usize..40,
    ) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let at = at.index(text.len());
        match how {
            0 => text[at] = byte,
            1 => text.insert(at, byte),
            2 => { text.remove(at); }
            _ => text.truncate(at),
        }
        let theirs = std::str::from_utf8(&text)
            .is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        let ours = accepts(&text, size);
        prop_assert_eq!(ours.is_ok(), theirs, "{:?} {:?}", ours, String::from_utf8_lossy(&text));
        prop_assert_eq!(ours, accepts(&text, usize::MAX));
    }

    #[test]
    fn soup_passes_where_serde_lets_it_pass(
        bytes in prop::collection::vec(prop::sample::select(TELLING), 0..24),
        size in 1_usize..8,
    ) {
        let theirs = std::str::from_utf8(&bytes)
            .is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        prop_assert_eq!(accepts(&bytes, size).is_ok(), theirs, "{:?}", String::from_utf8_lossy(&bytes));
        prop_assert_eq!(accepts(&bytes, size), accepts(&bytes, usize::MAX));
    }
}
