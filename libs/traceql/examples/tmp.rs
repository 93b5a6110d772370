use std::time::Instant;
use tactus_traceql::*;
fn main(){
 for count in [50_000usize,100_000] {
    let (open, close) = ("(".repeat(count), ")".repeat(count));
    for (n,deep) in [
        ("open", format!("{{ {open}")),
        ("rootopen",open.clone()),
        ("not",format!("{{ {}.a }}", "!".repeat(count))),
        ("nil",format!("{{ {}.a }}", "nil != -".repeat(count))),
        ("add",format!("{{ .a{} }}", " + .b".repeat(count))),
        ("addp",format!("{{ {}.a{close} }}", ".a + (".repeat(count))),
        ("sp",format!("{{}}{}", " > {}".repeat(count))),
        ("spp",format!("{}{{}}{close}", "{} > (".repeat(count))),
        ("pp",format!("{}{{}}{close}", "({}|{}) > (".repeat(count))),
        ("count",format!("count(){} > 1", " + count()".repeat(count))),
        ("rate",format!("({{}} | rate()){}", " + ({} | rate())".repeat(count))),
        ("by","{} | by(".repeat(count)),
        ("ident","a ".repeat(count)),
        ("paren",format!("{open}{{ .a }}{close}")),
        ("stages",format!("{{}} {}"," | {}".repeat(count))),
        ("by list",format!("{{}} | rate() by (.a{})",", .b".repeat(count))),
        ("rx",format!("{{ .a =~ `x` {} }}","&& .a =~ `x.y`".repeat(2000))),
    ] { let t=Instant::now(); let r=parse_and_validate(&deep); println!("{count} {n} {} {:?} {}", deep.len(), t.elapsed(), r.is_ok()); }
 }
}
