//! Programs of the page of jobs: each does what the page says.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::{is_code, read, section};
use crate::printed;
use crate::skipping::skip;

const JOBS: &str = "dist/doc/jobs.md";

/// The block of code below a heading that has this word in it.
fn code_with(heading: &str, word: &str) -> String {
    let text = read(JOBS);
    let blocks = section(&text, heading).split("\n\n");
    // A blank line within a block belongs to it.
    let mut block = String::new();
    for part in blocks {
        if is_code(part.trim_start_matches('\n')) {
            block += part.trim_start_matches('\n');
            block += "\n\n";
        } else if block.contains(word) {
            break;
        } else {
            block.clear();
        }
    }
    assert!(block.contains(word), "{heading}: {block}");
    block.lines().map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n").collect()
}

/// What a program prints of these records; `None`: this machine does not have it.
fn output_of(command: &mut Command, records: &str) -> Option<String> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = command else { return None };
    child.stdin.take().unwrap().write_all(records.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Records of a run, and the end of one of the two logs.
fn records() -> String {
    let directory = tempfile::tempdir().unwrap();
    let bar = "1%\r2%\rdone \x1b[1m\n";
    std::fs::write(directory.path().join("train_4711_17.out"), bar).unwrap();
    std::fs::write(directory.path().join("slurm-9999.err"), "begin\nwarning\n").unwrap();
    let path = directory.path().to_str().unwrap();
    let arguments =
        ["run", "--once", "--format=json", "--host=n7", "--preset=slurm", "--uid", path];
    let lines = printed(&arguments);
    let last = lines.lines().find(|line| line.contains("\"warning\"")).unwrap();
    let (head, _) = last.split_once(",\"line\"").unwrap();
    format!("{lines}{head},\"event\":\"end\",\"why\":\"closed\"}}\n")
}

#[test]
fn the_program_in_python_makes_a_table_of_records() {
    let program = code_with("## A table by Python", "import json");
    let table = output_of(Command::new("python3").args(["-c", &program]), &records());
    let Some(table) = table else { return skip("no python3") };
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split('\t').collect()).collect();
    let shown: Vec<[&str; 4]> = rows.iter().map(|row| [row[0], row[1], row[3], row[4]]).collect();
    assert_eq!(shown, [["n7", "4711_17", "open", "done ?[1m"], ["n7", "9999", "over", "warning"]]);
    assert!(rows.iter().all(|row| row[2].parse::<u32>().is_ok()), "{table}");
}

#[test]
fn the_command_of_jq_makes_a_table_of_records() {
    let command = code_with("## A table by jq", "reduce");
    let program = command.split('\'').nth(1).unwrap();
    let Some(table) = output_of(Command::new("jq").args(["-rn", program]), &records()) else {
        return skip("no jq");
    };
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split('\t').collect()).collect();
    let shown: Vec<[&str; 3]> = rows.iter().map(|row| [row[0], row[2], row[3]]).collect();
    assert_eq!(shown, [["4711_17", "-", "done ?[1m"], ["9999_", "closed", "warning"]]);
}

#[test]
fn the_state_of_a_job_is_found_in_what_the_scheduler_writes() {
    let command = code_with("## What the scheduler says", "capture");
    let program = command.split('\'').nth(1).unwrap();
    let line = "JobId=4711 UserId=al(61011) Name=train JobState=COMPLETED Partition=p";
    let record = format!("{{\"labels\":{{\"kind\":\"completion\"}},\"line\":\"{line}\"}}\n");
    let records = records() + &record;
    let Some(found) = output_of(Command::new("jq").args(["-r", program]), &records) else {
        return skip("no jq");
    };
    assert_eq!(found, "4711\tCOMPLETED\n");
}
