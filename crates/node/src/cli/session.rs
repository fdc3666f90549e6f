//! A running node, reached through the data folder.

use anyhow::Context as _;
use hutong_client::{Client, Language, Timestamp, Token, proto};
use hutong_record::Currency;

use super::{
    Globals,
    problem::Problem,
    resolve::{Named, full_id, listed_id, resolve},
    say,
    show::{self, Names},
    value::MoneyArg,
};
use crate::{
    clock,
    data_folder::{DataFolder, DataFolderError},
};

/// The node, and the alliance that the command is about.
#[derive(Debug)]
pub(crate) struct Session {
    /// The node.
    pub(crate) client: Client,
    /// Hex; empty where none was named, and the node takes its only one.
    pub(crate) alliance_id: String,
    /// The caller's.
    pub(crate) language: Language,
}

/// In what, and by which clock, an alliance keeps its books, and for whom they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Books {
    /// Of all amounts.
    pub(crate) currency: Currency,
    /// Added to UTC to find its day.
    pub(crate) utc_offset_minutes: i32,
    /// The caller's, for headings.
    pub(crate) language: Language,
}

impl Session {
    /// Connects to the node of the data folder and finds the alliance named by `--alliance`.
    pub(crate) async fn open(globals: &Globals) -> anyhow::Result<Self> {
        let language = globals.language();
        let client = connect(&globals.data()?).await?.with_language(language);
        let alliance_id = match globals.alliance.as_deref() {
            None => String::new(),
            Some(text) => match full_id(text) {
                Some(id) => id,
                None => find_alliance(&client, text).await?,
            },
        };
        Ok(Self { client, alliance_id, language })
    }

    /// The amount as the node takes it.
    pub(crate) async fn money(&self, amount: Option<MoneyArg>) -> anyhow::Result<Option<proto::Money>> {
        let Some(amount) = amount else { return Ok(None) };
        let currency = if amount.needs_currency() { Some(self.currency().await?) } else { None };
        Ok(Some(amount.to_proto(currency).map_err(Problem::Usage)?))
    }

    /// The currency of the alliance.
    pub(crate) async fn currency(&self) -> anyhow::Result<Currency> {
        Ok(self.books().await?.currency)
    }

    /// How the alliance keeps its books.
    pub(crate) async fn books(&self) -> anyhow::Result<Books> {
        let request = proto::GetAllianceRequest { alliance_id: self.alliance_id.clone(), read_mask: None };
        let alliance =
            self.client.get_alliance(request).await?.alliance.ok_or(Problem::Answer("alliance"))?;
        let currency = alliance.currency_code.parse().context("the alliance's currency")?;
        let utc_offset_minutes = alliance.utc_offset_minutes;
        Ok(Books { currency, utc_offset_minutes, language: self.language })
    }

    /// The ids of shops as typed, looked up only where they are not ids already, for what begins anew: removed
    /// shops can be named by id only.
    pub(crate) async fn shops<const N: usize>(&self, shops: [&str; N]) -> anyhow::Result<[String; N]> {
        let ids = self.shop_list(&shops).await?;
        ids.try_into().map_err(|_| Problem::Answer("members").into())
    }

    /// As [`Self::shops`], for any number of them.
    pub(crate) async fn shop_list(&self, shops: &[&str]) -> anyhow::Result<Vec<String>> {
        let known = if shops.iter().all(|shop| full_id(shop).is_some()) {
            Vec::new()
        } else {
            let members = self.client.all_members(&self.alliance_id).await?;
            members.into_iter().filter(is_named).map(named).collect()
        };
        shops.iter().map(|shop| Ok(resolve("shop", shop, &known)?)).collect()
    }

    /// The id of a shop whose log is closed, as typed. It goes before a shop of its name that is in, which may be the one
    /// that continues it.
    pub(crate) async fn closed_shop(&self, text: &str) -> anyhow::Result<String> {
        if let Some(id) = full_id(text) {
            return Ok(id);
        }
        Ok(resolve_closed(text, self.client.all_members(&self.alliance_id).await?)?)
    }

    /// The id of a shop that this one has dealt with, as typed: one that is in goes before a removed one of its name.
    pub(crate) async fn ally(&self, text: &str) -> anyhow::Result<String> {
        if let Some(id) = full_id(text) {
            return Ok(id);
        }
        Ok(resolve_ally(text, self.client.all_members(&self.alliance_id).await?)?)
    }

    /// Until when this shop's admission to an alliance is open to objections; none: it is not, or nobody can tell.
    pub(crate) async fn announced_until(&self, alliance_id: &str) -> Option<Timestamp> {
        let shop_id = self.shop_id().await?;
        announced_until(&self.client, alliance_id, &shop_id).await
    }

    /// This shop's id; none where nobody can tell.
    pub(crate) async fn shop_id(&self) -> Option<String> {
        self.client.get_status(proto::GetStatusRequest {}).await.ok().map(|status| status.shop_id)
    }

    /// The text in the caller's language.
    pub(crate) fn say<'a>(&self, en: &'a str, zh: &'a str) -> &'a str {
        say(self.language, en, zh)
    }

    /// The request id that a call was made by, for repeating it.
    pub(crate) fn request_hint(&self, request_id: &str) -> String {
        format!("{} {request_id}", self.say("request id", "请求号"))
    }

    /// The id of a receipt in the books of this shop with any other, as typed.
    pub(crate) async fn receipt(&self, text: &str) -> anyhow::Result<String> {
        let lines = async {
            let mut lines = Vec::new();
            for exposure in self.client.all_exposures(&self.alliance_id).await? {
                if !exposure.ally_id.is_empty() {
                    let of_ally =
                        self.client.all_book_lines(&self.alliance_id, &exposure.ally_id, None, None);
                    lines.extend(of_ally.await?);
                }
            }
            Ok::<_, hutong_client::Error>(lines)
        };
        listed_id("receipt", text, lines, |line| line.receipt_id).await
    }

    /// Names of the shops, for people to read. Without them ids are shown: what was done must be told in any case.
    pub(crate) async fn names(&self) -> Names {
        self.client.all_members(&self.alliance_id).await.map(Names::of).unwrap_or_default()
    }

    /// The id of a promotion, named by its id's beginning or its title.
    pub(crate) async fn promotion(&self, text: &str) -> anyhow::Result<String> {
        if let Some(id) = full_id(text) {
            return Ok(id);
        }
        let promotions = self.client.all_promotions(&self.alliance_id).await?;
        let known: Vec<_> = promotions.into_iter().map(|p| Named { id: p.id, name: p.title }).collect();
        Ok(resolve("promotion", text, &known)?)
    }
}

fn is_named(member: &proto::Member) -> bool {
    member.state() != proto::MemberState::Removed
}

fn named(member: proto::Member) -> Named {
    Named { id: member.shop_id, name: member.name }
}

fn resolve_ally(text: &str, members: Vec<proto::Member>) -> Result<String, Problem> {
    let (open, removed): (Vec<_>, Vec<_>) = members.into_iter().partition(is_named);
    let mut known: Vec<Named> = open.into_iter().map(named).collect();
    let has_name = known.iter().any(|one| one.name == text);
    match resolve("shop", text, &known) {
        // The beginning of an id may be that of a removed shop, too.
        Ok(_) if !has_name => {}
        Err(Problem::Unknown { .. }) => {}
        found => return found,
    }
    known.extend(removed.into_iter().map(named));
    resolve("shop", text, &known)
}

fn resolve_closed(text: &str, members: Vec<proto::Member>) -> Result<String, Problem> {
    let is_closed = |member: &proto::Member| {
        matches!(member.state(), proto::MemberState::Removed | proto::MemberState::Frozen)
    };
    let (closed, open): (Vec<_>, Vec<_>) = members.into_iter().partition(is_closed);
    let mut known: Vec<Named> = closed.into_iter().map(named).collect();
    match resolve("shop", text, &known) {
        Err(Problem::Unknown { .. }) => {
            known.extend(open.into_iter().map(named));
            resolve("shop", text, &known)
        }
        found => found,
    }
}

/// As [`Session::announced_until`], of a shop whose id is known.
pub(crate) async fn announced_until(client: &Client, alliance_id: &str, shop_id: &str) -> Option<Timestamp> {
    let members = client.all_members(alliance_id).await.ok()?;
    let own = members.iter().find(|member| member.shop_id == shop_id)?;
    show::announced_until(own, clock::now()).copied()
}

/// Where the node of a data folder answers.
pub(crate) fn node_endpoint(data: &DataFolder) -> anyhow::Result<String> {
    if !data.is_set_up() {
        return Err(DataFolderError::Missing(data.path().to_owned()).into());
    }
    let address = data.read_merchant_address()?;
    let address = address.ok_or_else(|| Problem::NotRunning { data: data.path().to_owned() })?;
    Ok(format!("http://{address}"))
}

/// Connects to the node of a data folder.
pub(crate) async fn connect(data: &DataFolder) -> anyhow::Result<Client> {
    let endpoint = node_endpoint(data)?;
    let token = data.read_token()?;
    match Client::connect(&endpoint, &Token::new(&token)).await {
        Err(hutong_client::Error::Connect(_)) => {
            Err(Problem::NotRunning { data: data.path().to_owned() }.into())
        }
        other => Ok(other?),
    }
}

async fn find_alliance(client: &Client, text: &str) -> anyhow::Result<String> {
    let alliances = client.all_alliances().await?;
    let known: Vec<_> = alliances.into_iter().map(|a| Named { id: a.id, name: a.name }).collect();
    Ok(resolve("alliance", text, &known)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(start: &str, name: &str, state: proto::MemberState) -> proto::Member {
        let shop_id = format!("{start:0<64}");
        proto::Member { shop_id, name: name.to_owned(), state: state.into(), ..Default::default() }
    }

    #[test]
    fn a_closed_shop_goes_before_the_one_of_its_name_that_continues_it() {
        use proto::MemberState::{Frozen, Member, Removed};
        let members = vec![
            member("aaaa", "老茶馆", Member),
            member("bbbb", "老茶馆", Removed),
            member("cccc", "鞋店", Frozen),
            member("dddd", "面馆", Member),
        ];
        let found = |text: &str| resolve_closed(text, members.clone()).map(|id| id[..4].to_owned());
        assert_eq!(found("老茶馆").unwrap(), "bbbb");
        assert_eq!(found("鞋店").unwrap(), "cccc");
        assert_eq!(found("面馆").unwrap(), "dddd", "that its log is open, the node says");
        assert!(matches!(found("布店"), Err(Problem::Unknown { candidates, .. }) if candidates.len() == 4));
    }

    #[test]
    fn a_removed_shop_is_an_ally_still_and_one_of_its_name_that_is_in_goes_before_it() {
        use proto::MemberState::{Member, Removed};
        let members = vec![
            member("aaaa1", "茶馆", Removed),
            member("aaaa2", "面馆", Member),
            member("bbbb", "鞋店", Member),
            member("cccc", "鞋店", Removed),
        ];
        let found = |text: &str| resolve_ally(text, members.clone()).map(|id| id[..5].to_owned());
        assert_eq!(found("茶馆").unwrap(), "aaaa1");
        assert_eq!(found("cccc").unwrap(), "cccc0");
        assert_eq!(found("鞋店").unwrap(), "bbbb0");
        assert_eq!(found("aaaa2").unwrap(), "aaaa2");
        assert!(matches!(found("aaaa"), Err(Problem::Ambiguous { .. })), "one of them is removed");
        assert!(matches!(found("布店"), Err(Problem::Unknown { candidates, .. }) if candidates.len() == 4));
    }
}
