//! The page: charts and tables in one file that needs nothing else.

use super::charts;
use super::table::{self, Entries, Section, TARGETS, Table, WEIGHTS, mark};
use crate::cell::Cell;
use crate::environment::Environment;
use crate::figures::figure;
use crate::targets::Judged;
use crate::weight::Weight;
use std::io;

const STYLE: &str = "
body { font: 15px/1.5 sans-serif; color: #222; max-width: 1440px; margin: 2em auto; padding: 0 1em; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5em; border-top: 1px solid #ccc; padding-top: 1em; }
nav a { margin-right: 1em; }
figure { margin: 1.5em 0; } figcaption { font-weight: bold; } svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 3px 8px; text-align: right; white-space: nowrap; border-bottom: 1px solid #e5e5e5; }
th { background: #f3f3f3; white-space: normal; vertical-align: bottom; } th:first-child, td:first-child, td.reason { text-align: left; }
td.reason { color: #777; } tr.aio { background: #eef4fc; }
.targets td, .targets th { text-align: left; } tr.met td:last-child { color: #06702f; }
tr.missed td:last-child { color: #b3101c; font-weight: bold; }
";

pub(super) fn html(
    environment: &Environment,
    targets: &[Judged],
    sections: &[Section],
    weights: &[Weight],
    cells: &[Cell],
) -> io::Result<String> {
    let mut body = String::from("<h1>Thread pool against event loop</h1>\n<ul>\n");
    for fact in super::facts(environment) {
        body += &format!("<li>{}</li>\n", escape(&fact));
    }
    body += "</ul>\n<nav><a href=\"#targets\">targets</a>";
    for Section { work, .. } in sections {
        body += &format!("<a href=\"#{work:?}\">{work:?}</a>");
    }
    body += "</nav>\n";
    for section in sections {
        body += &work(section, cells)?;
    }
    if !weights.is_empty() {
        body += &format!(
            "<h2>{WEIGHTS}</h2>\n<table><tr><th></th><th>crates</th><th>build, seconds</th></tr>\n"
        );
        for Weight { name, crates, build_seconds } in weights {
            let seconds = figure(*build_seconds);
            body += &format!("<tr><td>{name}</td><td>{crates}</td><td>{seconds}</td></tr>\n");
        }
        body += "</table>\n";
    }
    body += &targets_table(targets);
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <title>Thread pool against event loop</title>\n<style>{STYLE}</style></head>\n\
         <body>\n{body}</body>\n</html>\n"
    ))
}

fn work(section: &Section, cells: &[Cell]) -> io::Result<String> {
    let work = section.work;
    let mut html = format!("<h2 id=\"{work:?}\">{}</h2>\n", escape(work.title()));
    html += &format!("<p>{}</p>\n", escape(work.note()));
    for chart in charts::of(work, cells)? {
        let caption = escape(&chart.caption);
        html += &format!("<figure><figcaption>{caption}</figcaption>\n{}</figure>\n", chart.svg);
    }
    for table in &section.tables {
        html += &rows(table);
    }
    Ok(html)
}

fn targets_table(targets: &[Judged]) -> String {
    let mut html = "<h2 id=\"targets\">Targets</h2>\n<table class=\"targets\">\n<tr>".to_owned();
    for column in TARGETS {
        html += &format!("<th>{column}</th>");
    }
    html += "</tr>\n";
    for judged in targets {
        html += &format!("<tr class=\"{}\">", judged.verdict().replace(' ', "-"));
        for entry in table::target(judged) {
            html += &format!("<td>{}</td>", escape(&entry));
        }
        html += "</tr>\n";
    }
    html + "</table>\n"
}

fn rows(table: &Table) -> String {
    let mut html =
        format!("<h3>{}</h3>\n<div class=\"wide\"><table>\n<tr><th></th>", escape(&table.title));
    for column in &table.columns {
        html += &format!("<th>{}</th>", escape(column));
    }
    html += "</tr>\n";
    for row in &table.rows {
        let class = if row.contender.is_aio() { " class=\"aio\"" } else { "" };
        html += &format!("<tr{class}><td>{}{}</td>", escape(&row.contender.to_string()), mark(row));
        match &row.entries {
            Entries::Figures(figures) => {
                for figure in figures {
                    html += &format!("<td>{}</td>", escape(figure));
                }
            }
            Entries::Reason(reason) => {
                let columns = table.columns.len();
                html +=
                    &format!("<td class=\"reason\" colspan=\"{columns}\">{}</td>", escape(reason));
            }
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
