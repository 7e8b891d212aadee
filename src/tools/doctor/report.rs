//! Findings as text, or as JSON.
//!
//! In: [`Finding`]s. Out: lines. Text: the verdict, the subject and the finding; below it the
//! remedy; at the end the sysctl lines. JSON: one object per finding, then a summary.

use std::io::{self, Write};

use serde::Serialize;

use super::survey::Survey;
use super::verdict::{Finding, Sysctl, Verdict};
use crate::status::numbers::plural;
use crate::tools::style::Style;

/// The file for the sysctl lines.
const SYSCTL_FILE: &str = "/etc/sysctl.d/60-manytail.conf";

#[derive(Serialize)]
struct Summary<'a> {
    ok: usize,
    warnings: usize,
    problems: usize,
    directories: u64,
    files: u64,
    sysctl: Vec<&'a Sysctl>,
}

pub(super) fn write(
    findings: &[Finding],
    survey: &Survey,
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    let times = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let summary = Summary {
        ok: times(Verdict::Ok),
        warnings: times(Verdict::Warning),
        problems: times(Verdict::Problem),
        directories: survey.directories,
        files: survey.files,
        sysctl: findings.iter().filter_map(|finding| finding.sysctl.as_ref()).collect(),
    };
    match style {
        Style::Text => write_text(findings, &summary, out)?,
        Style::Json => {
            for finding in findings {
                writeln!(out, "{}", serde_json::to_string(finding)?)?;
            }
            writeln!(out, "{}", serde_json::to_string(&summary)?)?;
        }
    }
    out.flush()
}

fn write_text(findings: &[Finding], summary: &Summary<'_>, out: &mut impl Write) -> io::Result<()> {
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "problem",
        };
        writeln!(out, "{verdict:<8} {}: {}", finding.about, finding.finding)?;
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "         -> {remedy}")?;
        }
    }
    let (warnings, problems) = (summary.warnings, summary.problems);
    writeln!(
        out,
        "\n{problems} problem{}, {warnings} warning{}",
        plural(problems as u64),
        plural(warnings as u64)
    )?;
    if !summary.sysctl.is_empty() {
        writeln!(out, "\n# {SYSCTL_FILE}; then `sysctl --system`")?;
        for Sysctl { name, value } in &summary.sysctl {
            writeln!(out, "{name} = {value}")?;
        }
    }
    Ok(())
}
