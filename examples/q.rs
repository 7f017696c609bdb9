use kioku::{engine::*, facts::*};
use std::sync::Arc;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let t = std::time::Instant::now();
    let w = Arc::new(Watch::default());
    let s = match Session::open(std::path::Path::new(&a[1]), &Options::default(), &w) {
        Ok(s) => s,
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1)
        }
    };
    eprintln!("open {:?}", t.elapsed());
    let t = std::time::Instant::now();
    if a[2] == "info" {
        println!("{:#?}", s.info());
        return;
    }
    let e = find_table(&a[2]).unwrap();
    let r = s.query(e, Scope::Machine, &w).unwrap();
    eprintln!("query {:?} {} rows", t.elapsed(), r.len());
    let mut out = Vec::new();
    for i in 0..r.len() {
        let o: std::collections::BTreeMap<_, _> =
            e.table.columns.iter().enumerate().map(|(c, col)| (col.name, serde_json::to_value(r.cell(i, c)).unwrap())).collect();
        out.push(o);
    }
    println!("{}", serde_json::to_string(&out).unwrap());
    for n in r.notes() {
        eprintln!("note: {n}");
    }
}
