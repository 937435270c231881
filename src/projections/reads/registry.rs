//! The registry: factories, organizations, scenes, subscenes, skills, SOPs, robot types,
//! robots and data collectors. All are read the same way: by id, and as a list with id
//! filters and a keyword.

use std::collections::BTreeSet;

use tokio_postgres::types::ToSql;

use super::error::ReadError;
use super::home::Home;
use super::keyword::{Keyword, ranked};
use super::list::{ListQuery, Listed, Page};
use super::place::{Key, KeyType};
use super::queries::Reads;
use super::row::{FromRow, row};
use crate::domain::{CollectorId, FactoryId, OrganizationId, RobotId, RobotTypeId, SceneId, Scope, SkillId, SopId, SubsceneId, Timestamp};
use crate::projections::rows::registry::{
    DataCollectorRow, FactoryRow, OrganizationRow, RobotRow, RobotTypeRow, SceneRow, SkillRow, SopRow, SubsceneRow,
};

row! {
    FactoryShown of FactoryRow as "x" {
        scene_count: i64 = "(select count(*) from scenes s where s.factory_id = x.id)",
        organization_count: i64 = "(select count(*) from organizations g where g.factory_id = x.id)",
    }
}

row! {
    OrganizationShown of OrganizationRow as "x" {}
}

row! {
    SceneShown of SceneRow as "x" {
        subscene_count: i64 = "(select count(*) from subscenes s where s.scene_id = x.id)",
    }
}

row! {
    SubsceneShown of SubsceneRow as "x" {}
}

row! {
    SkillShown of SkillRow as "x" {}
}

row! {
    SopShown of SopRow as "x" {}
}

row! {
    RobotTypeShown of RobotTypeRow as "x" {}
}

row! {
    RobotShown of RobotRow as "x" {
        robot_type_name: Option<String> = "y.name",
        robot_type_model: Option<String> = "y.model",
        factory_name: Option<String> = "f.name",
        factory_slug: Option<String> = "f.slug",
        /// The later of the two sockets, where both are up.
        connected_at: Option<Timestamp> = "case when d.recorder_open and d.transfer_open then greatest(d.recorder_since, d.transfer_since) end",
    }
}

row! {
    DataCollectorShown of DataCollectorRow as "x" {
        organization_name: Option<String> = "g.name",
    }
}

/// By its own id, by the id of its parent (where it has one), and by keyword.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter<Id, Parent = Id> {
    pub ids: Option<Vec<Id>>,
    pub parent_ids: Option<Vec<Parent>>,
    pub keyword: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct SlugFilter {
    pub slugs: Option<Vec<String>>,
    pub keyword: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct RobotFilter {
    pub factory_ids: Option<Vec<FactoryId>>,
    pub robot_type_ids: Option<Vec<RobotTypeId>>,
    pub statuses: Option<Vec<String>>,
    pub device_ids: Option<Vec<String>>,
    /// Whether both sockets are up.
    pub connected: Option<bool>,
    pub keyword: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct CollectorFilter {
    pub organization_ids: Option<Vec<OrganizationId>>,
    pub statuses: Option<Vec<String>>,
    pub operator_ids: Option<Vec<String>>,
    pub names: Option<Vec<String>>,
    pub keyword: Option<String>,
}

const ROBOTS: &str = "robots x left join robot_types y on y.id = x.robot_type_id left join factories f on f.id = x.factory_id \
                      left join devices d on d.id = x.device_id";
const COLLECTORS: &str = "data_collectors x left join organizations g on g.id = x.organization_id";

/// Of live robots in all scopes: what is bound is bound for everybody.
const BOUND_ASSETS: &str = "select asset_id from robots where asset_id is not null and status <> 'retired'";

const FACTORIES_HOME: Home = Home::Factory("x.id");
const ORGANIZATIONS_HOME: Home = Home::Organization { factory: "x.factory_id", organization: "x.id" };
/// Of scenes and robots.
const FACTORY_HOME: Home = Home::Factory("x.factory_id");
const SUBSCENES_HOME: Home = Home::Factory("(select s.factory_id from scenes s where s.id = x.scene_id)");
const COLLECTORS_HOME: Home = Home::Organization { factory: "g.factory_id", organization: "x.organization_id" };

fn entries(from: &'static str, parent: &str, fields: &[&str], home: Home) -> ListQuery {
    let keyword = Keyword::over(3, fields);
    ListQuery {
        from,
        matches: format!(
            "($1::bigint[] is null or x.id = any($1)) and ($2::bigint[] is null or {parent} = any($2)) and {}",
            keyword.matches
        ),
        order: ranked(&keyword, [Key::down(KeyType::Number, "x.id")]),
        parameters: 3,
        counted: None,
        home,
    }
}

fn slugged(from: &'static str, version: &str, order: impl IntoIterator<Item = Key>) -> ListQuery {
    let keyword = Keyword::over(2, &["x.slug", "x.description", version]);
    ListQuery {
        from,
        matches: format!("($1::text[] is null or comparable(x.slug) = any(comparable_all($1))) and {}", keyword.matches),
        order: ranked(&keyword, order),
        parameters: 2,
        counted: None,
        home: Home::Site,
    }
}

fn factories() -> ListQuery {
    entries("factories x", "null::bigint", &["x.name", "x.slug", "x.location"], FACTORIES_HOME)
}

fn organizations() -> ListQuery {
    entries("organizations x", "x.factory_id", &["x.name", "x.slug", "x.description"], ORGANIZATIONS_HOME)
}

fn scenes() -> ListQuery {
    entries("scenes x", "x.factory_id", &["x.name", "x.description"], FACTORY_HOME)
}

fn subscenes() -> ListQuery {
    entries("subscenes x", "x.scene_id", &["x.name", "x.description"], SUBSCENES_HOME)
}

fn robot_types() -> ListQuery {
    entries("robot_types x", "null::bigint", &["x.name", "x.model", "x.manufacturer", "x.end_effector"], Home::Site)
}

fn skills() -> ListQuery {
    slugged("skills x", "x.skill_version", [Key::down(KeyType::Number, "x.id")])
}

fn sops() -> ListQuery {
    slugged("sops x", "x.sop_version", [Key::down(KeyType::Instant, "x.updated_at"), Key::down(KeyType::Number, "x.id")])
}

fn robots() -> ListQuery {
    let keyword = Keyword::over(6, &["x.device_id", "x.asset_id"]);
    ListQuery {
        from: ROBOTS,
        matches: format!(
            "($1::bigint[] is null or x.factory_id = any($1)) and ($2::bigint[] is null or x.robot_type_id = any($2)) \
             and ($3::text[] is null or comparable(x.status) = any(comparable_all($3))) and ($4::text[] is null or comparable(x.device_id) = any(comparable_all($4))) \
             and ($5::boolean is null or coalesce(d.recorder_open and d.transfer_open, false) = $5) and {}",
            keyword.matches
        ),
        order: ranked(&keyword, [Key::down(KeyType::Number, "x.id")]),
        parameters: 6,
        counted: None,
        home: FACTORY_HOME,
    }
}

fn data_collectors() -> ListQuery {
    let keyword = Keyword::over(5, &["x.operator_id", "x.name", "x.email"]);
    ListQuery {
        from: COLLECTORS,
        matches: format!(
            "($1::bigint[] is null or x.organization_id = any($1)) and ($2::text[] is null or comparable(x.status) = any(comparable_all($2))) \
             and ($3::text[] is null or comparable(x.operator_id) = any(comparable_all($3))) and ($4::text[] is null or comparable(x.name) = any(comparable_all($4))) and {}",
            keyword.matches
        ),
        order: ranked(&keyword, [Key::down(KeyType::Number, "x.id")]),
        parameters: 5,
        counted: None,
        home: COLLECTORS_HOME,
    }
}

fn get<R: FromRow>(from: &str) -> String {
    format!("select {} from {from} where x.id = $1", R::columns())
}

macro_rules! reads_of {
    ($($one:ident($id:ty), $many:ident: $row:ident from $from:expr, of $home:expr;)+) => {
        impl Reads {
            $(pub async fn $one(&self, scope: &Scope, id: $id) -> Result<Option<$row>, ReadError> {
                self.seen(scope, $home, get::<$row>($from), &[&id]).await
            })+
        }
        pub(super) fn statements() -> Vec<(&'static str, String)> {
            vec![$(
                (stringify!($one), get::<$row>($from)),
                (stringify!($many), $many().select(&$row::columns())),
                (concat!(stringify!($many), ", counted"), $many().count()),
            )+ ("bound assets", BOUND_ASSETS.to_owned())]
        }
    };
}

reads_of! {
    factory(FactoryId), factories: FactoryShown from "factories x", of FACTORIES_HOME;
    organization(OrganizationId), organizations: OrganizationShown from "organizations x", of ORGANIZATIONS_HOME;
    scene(SceneId), scenes: SceneShown from "scenes x", of FACTORY_HOME;
    subscene(SubsceneId), subscenes: SubsceneShown from "subscenes x", of SUBSCENES_HOME;
    skill(SkillId), skills: SkillShown from "skills x", of Home::Site;
    sop(SopId), sops: SopShown from "sops x", of Home::Site;
    robot_type(RobotTypeId), robot_types: RobotTypeShown from "robot_types x", of Home::Site;
    robot(RobotId), robots: RobotShown from ROBOTS, of FACTORY_HOME;
    data_collector(CollectorId), data_collectors: DataCollectorShown from COLLECTORS, of COLLECTORS_HOME;
}

impl Reads {
    pub async fn factories(&self, scope: &Scope, filter: &EntryFilter<FactoryId>, page: Page) -> Result<Listed<FactoryShown>, ReadError> {
        self.entries(scope, factories(), filter, page).await
    }

    pub async fn organizations(
        &self,
        scope: &Scope,
        filter: &EntryFilter<OrganizationId, FactoryId>,
        page: Page,
    ) -> Result<Listed<OrganizationShown>, ReadError> {
        self.entries(scope, organizations(), filter, page).await
    }

    pub async fn scenes(
        &self,
        scope: &Scope,
        filter: &EntryFilter<SceneId, FactoryId>,
        page: Page,
    ) -> Result<Listed<SceneShown>, ReadError> {
        self.entries(scope, scenes(), filter, page).await
    }

    pub async fn subscenes(
        &self,
        scope: &Scope,
        filter: &EntryFilter<SubsceneId, SceneId>,
        page: Page,
    ) -> Result<Listed<SubsceneShown>, ReadError> {
        self.entries(scope, subscenes(), filter, page).await
    }

    pub async fn robot_types(
        &self,
        scope: &Scope,
        filter: &EntryFilter<RobotTypeId>,
        page: Page,
    ) -> Result<Listed<RobotTypeShown>, ReadError> {
        self.entries(scope, robot_types(), filter, page).await
    }

    pub async fn skills(&self, scope: &Scope, filter: &SlugFilter, page: Page) -> Result<Listed<SkillShown>, ReadError> {
        self.listed(scope, skills(), &[&filter.slugs, &filter.keyword], page).await
    }

    pub async fn sops(&self, scope: &Scope, filter: &SlugFilter, page: Page) -> Result<Listed<SopShown>, ReadError> {
        self.listed(scope, sops(), &[&filter.slugs, &filter.keyword], page).await
    }

    pub async fn robots(&self, scope: &Scope, filter: &RobotFilter, page: Page) -> Result<Listed<RobotShown>, ReadError> {
        let f = filter;
        self.listed(scope, robots(), &[&f.factory_ids, &f.robot_type_ids, &f.statuses, &f.device_ids, &f.connected, &f.keyword], page).await
    }

    /// Assets that live robots are bound to.
    pub async fn bound_assets(&self) -> Result<BTreeSet<String>, ReadError> {
        let rows = self.query(BOUND_ASSETS, &[]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    pub async fn data_collectors(
        &self,
        scope: &Scope,
        filter: &CollectorFilter,
        page: Page,
    ) -> Result<Listed<DataCollectorShown>, ReadError> {
        let f = filter;
        self.listed(scope, data_collectors(), &[&f.organization_ids, &f.statuses, &f.operator_ids, &f.names, &f.keyword], page).await
    }

    async fn entries<R: FromRow, Id: ToSql + Sync, Parent: ToSql + Sync>(
        &self,
        scope: &Scope,
        query: ListQuery,
        filter: &EntryFilter<Id, Parent>,
        page: Page,
    ) -> Result<Listed<R>, ReadError> {
        self.listed(scope, query, &[&filter.ids, &filter.parent_ids, &filter.keyword], page).await
    }
}
