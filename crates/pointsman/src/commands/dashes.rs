//! Long flags with one dash, as Go's flags may be written: `-grpc-port 9002`, `-secure-serving=false`.

use std::ffi::OsString;

/// Gives the long flags of the command that `arguments` name their second dash, where the command is one that takes the
/// reference's flags.
pub(crate) fn double(arguments: &mut [OsString], all: &clap::Command) {
    let Some(command) = arguments
        .get(1)
        .and_then(|name| name.to_str())
        .filter(|name| *name == "epp")
        .and_then(|name| all.find_subcommand(name))
    else {
        return;
    };
    for argument in &mut arguments[2..] {
        let Some(bare) = argument.to_str().and_then(|text| text.strip_prefix('-')) else {
            continue;
        };
        let name = bare.split('=').next().unwrap_or_default();
        if name.len() > 1 && command.get_arguments().any(|a| a.get_long() == Some(name)) {
            *argument = format!("--{bare}").into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_flags_of_the_picker_change() {
        let all = clap::Command::new("x")
            .subcommand(clap::Command::new("epp").arg(clap::arg!(--"grpc-port" <P> "")))
            .subcommand(clap::Command::new("up").arg(clap::arg!(--"grpc-port" <P> "")));
        let check = |given: &[&str], expected: &[&str]| {
            let mut given: Vec<OsString> = given.iter().map(OsString::from).collect();
            double(&mut given, &all);
            assert_eq!(given, expected);
        };
        check(
            &[
                "x",
                "epp",
                "-grpc-port",
                "1",
                "-v",
                "4",
                "--grpc-port=2",
                "-grpc-port=3",
                "-1",
            ],
            &[
                "x",
                "epp",
                "--grpc-port",
                "1",
                "-v",
                "4",
                "--grpc-port=2",
                "--grpc-port=3",
                "-1",
            ],
        );
        check(&["x", "up", "-grpc-port"], &["x", "up", "-grpc-port"]);
        check(&["x"], &["x"]);
    }
}
