//! The schema beside the migrations of this program.

use super::facts::Schema;
use crate::doctor::report::Finding;
use crate::pg::{Migration, missing};

pub(super) fn judge(schema: &Schema, known: &[Migration]) -> Finding {
    let id = "database.schema";
    let Schema::Migrated(applied) = schema else {
        return Finding::ok(id, "there is no schema yet; the first start makes it");
    };
    let newest = known.last().map_or(0, |migration| migration.version);
    let changed: Vec<_> = known
        .iter()
        .filter(|ours| {
            applied.iter().any(|theirs| theirs.version == ours.version && (&theirs.name, &theirs.checksum) != (&ours.name, &ours.checksum))
        })
        .map(|migration| format!("V{}", migration.version))
        .collect();
    if !changed.is_empty() {
        let seen = format!("{} was applied with another text than this program has", changed.join(", "));
        return Finding::problem(id, seen, "run the program that belongs to this database; a start of this one is refused");
    }
    let missing = missing(known, applied).len();
    let is = applied.iter().map(|migration| migration.version).max().unwrap_or_default();
    if missing > 0 {
        let seen = format!("missing migrations: {missing} (the schema is at V{is}, this program at V{newest})");
        return Finding::warning(id, seen, "back up, then start this program or run `keystone migrate`");
    }
    if is > newest {
        let seen = format!("the schema is at V{is}, newer than this program (V{newest})");
        return Finding::warning(id, seen, "a newer program was here; use that one, or finish the upgrade of the other processes");
    }
    Finding::ok(id, format!("at V{is}, as this program wants it"))
}
