//! Expressions over `usage`, in the part of CEL that works with numbers and truth values.
//!
//! ```text
//! choice  = or ["?" choice ":" choice]
//! or      = and {"||" and}          and  = compare {"&&" compare}
//! compare = sum {("=="|"!="|"<"|"<="|">"|">=") sum}
//! sum     = product {("+"|"-") product}
//! product = unary {("*"|"/"|"%") unary}
//! unary   = {"!"|"-"} primary
//! primary = number | "true" | "false" | "(" choice ")" | path | "has(" path ")" | "int(" choice ")" | "double(" choice ")"
//! path    = "usage" {"." name | "[" text "]"}
//! ```
//! What has no value (a missing field, a division by zero) makes the whole have none, but for `&&` and `||` where the
//! other side decides.

/// What an expression comes to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Value {
    /// A whole number.
    Whole(i64),
    /// A decimal number.
    Decimal(f64),
    /// Yes or no.
    Truth(bool),
    /// Something with fields.
    Object,
}

/// Finds the field at a path below `usage`.
pub(crate) type Find<'f> = &'f dyn Fn(&[String]) -> Option<Value>;

/// An expression that was read.
pub(crate) struct Expression(Node);

enum Node {
    Is(Value),
    Field(Vec<String>),
    Has(Vec<String>),
    Not(Box<Self>),
    Minus(Box<Self>),
    Whole(Box<Self>),
    Decimal(Box<Self>),
    Two(Op, Box<Self>, Box<Self>),
    Choice(Box<[Self; 3]>),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Op {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    Plus,
    Minus,
    Times,
    By,
    Rest,
}

/// Operators by how tightly they bind, loosest first; longer ones before those they begin with.
const LEVELS: [&[(&str, Op)]; 5] = [
    &[("||", Op::Or)],
    &[("&&", Op::And)],
    &[
        ("==", Op::Equal),
        ("!=", Op::Unequal),
        ("<=", Op::AtMost),
        (">=", Op::AtLeast),
        ("<", Op::Less),
        (">", Op::More),
    ],
    &[("+", Op::Plus), ("-", Op::Minus)],
    &[("*", Op::Times), ("/", Op::By), ("%", Op::Rest)],
];

/// Deepest nesting that is read.
const DEEPEST: usize = 64;

/// Longest text that is read, in bytes.
const LONGEST: usize = 4096;

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong, at which character, and what would be right.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("is empty; write an expression such as usage.total_tokens".to_owned());
        }
        if text.len() > LONGEST {
            return Err(format!(
                "is longer than {LONGEST} bytes; write a shorter one"
            ));
        }
        let mut reader = Reader {
            text,
            at: 0,
            depth: 0,
        };
        let node = reader.choice()?;
        reader.space();
        match reader.rest() {
            "" => Ok(Self(node)),
            rest => Err(reader.complaint(&format!("'{rest}' does not belong here"))),
        }
    }

    /// What it comes to.
    pub(crate) fn value(&self, find: Find<'_>) -> Option<Value> {
        self.0.value(find)
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn complaint(&self, what: &str) -> String {
        let column = self.text[..self.at].chars().count() + 1;
        format!("character {column}: {what}")
    }

    /// Takes `word`, if it is next.
    fn take(&mut self, word: &str) -> bool {
        self.space();
        let there = self.rest().starts_with(word);
        if there {
            self.at += word.len();
        }
        there
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.take(word) {
            return Ok(());
        }
        Err(self.complaint(&format!("'{word}' is missing")))
    }

    /// Letters, digits and underscores, if there are any.
    fn word(&mut self) -> &'t str {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn choice(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.complaint("is nested too deeply"));
        }
        let first = self.level(0)?;
        let node = if self.take("?") {
            let second = self.choice()?;
            self.expect(":")?;
            Node::Choice(Box::new([first, second, self.choice()?]))
        } else {
            first
        };
        self.depth -= 1;
        Ok(node)
    }

    fn level(&mut self, level: usize) -> Result<Node, String> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut node = self.level(level + 1)?;
        loop {
            let found = operators.iter().find(|(word, _)| self.take(word));
            let Some((_, op)) = found else {
                return Ok(node);
            };
            let other = self.level(level + 1)?;
            node = Node::Two(*op, Box::new(node), Box::new(other));
        }
    }

    fn unary(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.complaint("is nested too deeply"));
        }
        let node = if self.take("!") {
            Node::Not(Box::new(self.unary()?))
        } else if self.take("-") {
            Node::Minus(Box::new(self.unary()?))
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn primary(&mut self) -> Result<Node, String> {
        if self.take("(") {
            let node = self.choice()?;
            self.expect(")")?;
            return Ok(node);
        }
        self.space();
        let began = self.at;
        match self.word() {
            "" => Err(self.complaint("a value is missing")),
            "true" => Ok(Node::Is(Value::Truth(true))),
            "false" => Ok(Node::Is(Value::Truth(false))),
            "usage" => Ok(Node::Field(self.path()?)),
            "has" => {
                self.expect("(")?;
                self.expect("usage")?;
                let path = self.path()?;
                self.expect(")")?;
                match path.is_empty() {
                    true => {
                        Err(self
                            .complaint("has() asks for a field, such as has(usage.total_tokens)"))
                    }
                    false => Ok(Node::Has(path)),
                }
            }
            "int" => Ok(Node::Whole(self.argument()?)),
            "double" => Ok(Node::Decimal(self.argument()?)),
            word if word.starts_with(|c: char| c.is_ascii_digit()) => self.number(began),
            word => {
                self.at = began;
                Err(self.complaint(&format!(
                    "'{word}' is not known; use usage, has(), int(), double() or a number"
                )))
            }
        }
    }

    fn argument(&mut self) -> Result<Box<Node>, String> {
        self.expect("(")?;
        let node = self.choice()?;
        self.expect(")")?;
        Ok(Box::new(node))
    }

    /// A number whose first digits have been taken.
    fn number(&mut self, began: usize) -> Result<Node, String> {
        let exponent = |reader: &Self| reader.text[began..reader.at].ends_with(['e', 'E']);
        if self.rest().starts_with('.') {
            self.at += 1;
            self.word();
        }
        if exponent(self) && self.rest().starts_with(['-', '+']) {
            self.at += 1;
            self.word();
        }
        let digits = &self.text[began..self.at];
        let whole = digits.parse().map(Value::Whole);
        let number = whole.or_else(|_| digits.parse().map(Value::Decimal));
        number.map(Node::Is).map_err(|_| {
            self.at = began;
            self.complaint(&format!("'{digits}' is no number"))
        })
    }

    fn path(&mut self) -> Result<Vec<String>, String> {
        let mut path = Vec::new();
        loop {
            if self.take(".") {
                match self.word() {
                    "" => return Err(self.complaint("the name of a field is missing")),
                    name => path.push(name.to_owned()),
                }
            } else if self.take("[") {
                path.push(self.quoted()?);
                self.expect("]")?;
            } else {
                return Ok(path);
            }
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = if self.take("\"") {
            '"'
        } else {
            self.expect("'")?;
            '\''
        };
        let rest = self.rest();
        let Some(end) = rest.find(quote) else {
            return Err(self.complaint("the closing quote is missing"));
        };
        self.at += end + 1;
        Ok(rest[..end].to_owned())
    }
}

impl Node {
    fn value(&self, find: Find<'_>) -> Option<Value> {
        match self {
            Self::Is(value) => Some(*value),
            Self::Field(path) => find(path),
            Self::Has(path) => Some(Value::Truth(find(path).is_some())),
            Self::Not(node) => match node.value(find)? {
                Value::Truth(truth) => Some(Value::Truth(!truth)),
                _ => None,
            },
            Self::Minus(node) => match node.value(find)? {
                Value::Whole(number) => number.checked_neg().map(Value::Whole),
                Value::Decimal(number) => Some(Value::Decimal(-number)),
                _ => None,
            },
            Self::Whole(node) => match node.value(find)? {
                Value::Decimal(number) if number.abs() < 9.2e18 => {
                    Some(Value::Whole(number as i64))
                }
                Value::Whole(number) => Some(Value::Whole(number)),
                _ => None,
            },
            Self::Decimal(node) => node.value(find)?.decimal().map(Value::Decimal),
            Self::Choice(parts) => match parts[0].value(find)? {
                Value::Truth(true) => parts[1].value(find),
                Value::Truth(false) => parts[2].value(find),
                _ => None,
            },
            Self::Two(op @ (Op::Or | Op::And), one, other) => {
                // The side that decides is enough, whatever the other one is.
                let decides = Value::Truth(*op == Op::Or);
                let (one, other) = (one.value(find), other.value(find));
                if one == Some(decides) || other == Some(decides) {
                    return Some(decides);
                }
                match (one?, other?) {
                    (Value::Truth(_), Value::Truth(_)) => Some(Value::Truth(*op == Op::And)),
                    _ => None,
                }
            }
            Self::Two(op, one, other) => joined(*op, one.value(find)?, other.value(find)?),
        }
    }
}

impl Value {
    fn decimal(self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(number as f64),
            Self::Decimal(number) => Some(number),
            Self::Truth(_) | Self::Object => None,
        }
    }
}

fn joined(op: Op, one: Value, other: Value) -> Option<Value> {
    if let (Value::Whole(one), Value::Whole(other)) = (one, other) {
        let number = match op {
            Op::Plus => one.checked_add(other),
            Op::Minus => one.checked_sub(other),
            Op::Times => one.checked_mul(other),
            Op::By => one.checked_div(other),
            Op::Rest => one.checked_rem(other),
            _ => return compared(op, one.cmp(&other)),
        };
        return number.map(Value::Whole);
    }
    if let (Value::Truth(one), Value::Truth(other)) = (one, other) {
        return match op {
            Op::Equal | Op::Unequal => compared(op, one.cmp(&other)),
            _ => None,
        };
    }
    let (one, other) = (one.decimal()?, other.decimal()?);
    let number = match op {
        Op::Plus => one + other,
        Op::Minus => one - other,
        Op::Times => one * other,
        Op::By => one / other,
        Op::Rest => return None,
        _ => return compared(op, one.partial_cmp(&other)?),
    };
    Some(Value::Decimal(number))
}

fn compared(op: Op, order: std::cmp::Ordering) -> Option<Value> {
    let holds = match op {
        Op::Equal => order.is_eq(),
        Op::Unequal => order.is_ne(),
        Op::Less => order.is_lt(),
        Op::AtMost => order.is_le(),
        Op::More => order.is_gt(),
        Op::AtLeast => order.is_ge(),
        _ => return None,
    };
    Some(Value::Truth(holds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn find(path: &[String]) -> Option<Value> {
        let numbers = [("a", 7.0), ("b", 2.0)];
        let found = numbers.iter().find(|(name, _)| path == [*name])?;
        Some(Value::Decimal(found.1))
    }

    #[track_caller]
    fn check(text: &str, expected: Option<Value>) {
        let expression = Expression::read(text).unwrap();
        assert_eq!(expression.value(&find), expected, "{text}");
    }

    #[test]
    fn expressions_come_to_what_cel_says() {
        use Value::{Decimal, Truth, Whole};
        check("1 + 2 * 3", Some(Whole(7)));
        check("(1 + 2) * 3", Some(Whole(9)));
        check("7 / 2", Some(Whole(3)));
        check("-7 % 4", Some(Whole(-3)));
        check("7.0 / 2.0", Some(Decimal(3.5)));
        check("1.5e2", Some(Decimal(150.0)));
        check("2e-1", Some(Decimal(0.2)));
        check("usage.a + usage[\"b\"] * 10.0", Some(Decimal(27.0)));
        check("usage.a / 2", Some(Decimal(3.5)));
        check("int(usage.a) % 4", Some(Whole(3)));
        check("double(3) / 2.0", Some(Decimal(1.5)));
        check("usage.a > 6.0 && usage.b <= 2.0", Some(Truth(true)));
        check("usage.a == 7", Some(Truth(true)));
        check("1 < 2 == true", Some(Truth(true)));
        check("!(1 < 2) || false", Some(Truth(false)));
        check("usage.a != 7.0 ? 1 : usage.b > 1.0 ? 2 : 3", Some(Whole(2)));
        check("has(usage.a)", Some(Truth(true)));
        check("has(usage.c)", Some(Truth(false)));
        check("usage.c", None);
        check("usage.c > 1.0 || true", Some(Truth(true)));
        check("false && usage.c > 1.0", Some(Truth(false)));
        check("usage.c > 1.0 || false", None);
        check("1 / 0", None);
        check("9223372036854775807 + 1", None);
        check("true + 1", None);
        check("usage.a % 2.0", None);
    }

    #[test]
    fn what_is_no_expression_is_told_with_its_place() {
        let check = |text: &str, expected: &str| {
            let told = Expression::read(text).err().unwrap();
            assert!(told.contains(expected), "{text}: {told}");
        };
        check("", "is empty");
        check("usage.", "character 7: the name of a field is missing");
        check("1 +", "character 4: a value is missing");
        check("request.size", "character 1: 'request' is not known");
        check("(1", "character 3: ')' is missing");
        check("1 2", "character 3: '2' does not belong here");
        check("has(usage)", "has() asks for a field");
        check("1x", "'1x' is no number");
        check("usage['a", "the closing quote is missing");
        check(&"1+".repeat(3000), "is longer than 4096 bytes");
        check(&"(".repeat(4000), "nested too deeply");
        check(&"-".repeat(4000), "nested too deeply");
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in ".{0,40}") {
            if let Ok(expression) = Expression::read(&text) {
                let _ = expression.value(&find);
            }
        }

        #[test]
        fn sums_and_products_are_those_of_numbers(a in -1000i64..1000, b in -1000i64..1000, c in -1000i64..1000) {
            let text = format!("{a} + {b} * ({c})");
            let expected = Some(Value::Whole(a + b * c));
            prop_assert_eq!(Expression::read(&text).unwrap().value(&find), expected);
        }
    }
}
