//! How a field is wrong, and other facts that are texts, in Chinese. Refusals say it in English, which goes over the wire
//! as a fact; here is what a person is told. `{}` stands for what a text is about, as it is; after a colon at the end it
//! stands for a cause, which may be another text of this list.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

const TEXTS: &[(&str, &str)] = &[
    // Texts, numbers, times.
    ("is missing", "未填写"),
    ("has {} characters, not {} to {}", "有 {} 个字符，应为 {} 至 {} 个"),
    ("has control characters", "含有控制字符"),
    ("has characters other than printable ASCII", "只能含可打印的 ASCII 字符"),
    ("{} is not within {} to {}", "{} 不在 {} 至 {} 之间"),
    ("is negative", "为负数"),
    ("is negative, or longer than a thousand years", "为负数，或超过一千年"),
    ("must be more than nothing", "必须大于零"),
    ("is beyond the year 9999", "晚于 9999 年"),
    ("nanos are not within 0 to 999,999,999", "nanos 不在 0 至 999,999,999 之间"),
    ("the time {} ms lies outside the years 1970 to 9999", "时间 {} 毫秒不在 1970 至 9999 年之间"),
    ("is no time at all", "时长为零"),
    ("is not ahead", "不在将来"),
    ("is not after from_time", "不晚于 from_time"),
    ("a day is YYYY-MM-DD", "日期格式为 YYYY-MM-DD"),
    ("must be 1 minute to 366 days", "必须为 1 分钟至 366 天"),
    ("must be at most 30 days", "最长 30 天"),
    // Money.
    ("a currency is three capital letters (ISO 4217)", "货币为三个大写字母（ISO 4217）"),
    ("the amount is beyond 10^15 minor units", "金额超过 10^15 最小货币单位"),
    ("the amount is negative", "金额为负数"),
    ("{} and {} do not add up", "{} 与 {} 不能相加"),
    // Ids, keys, signatures.
    ("is not 32 bytes", "不是 32 字节"),
    ("a card has 32 hex digits", "会员号为 32 位十六进制数字"),
    ("an id of {} bytes was expected, not {}", "标识应为 {} 字节，而非 {} 字节"),
    ("an id is 16 hex digits", "标识为 16 位十六进制数字"),
    ("not hexadecimal", "不是十六进制"),
    ("not the text of a voucher", "不是券的文本"),
    ("a key has 32 bytes", "密钥为 32 字节"),
    ("the key is not a canonical curve point", "密钥不是规范的曲线点"),
    ("the key is weak", "密钥过弱"),
    ("the signature does not verify", "签名验证不通过"),
    ("the identity is malformed", "身份信息格式有误"),
    ("the identity's key is refused: {}", "身份信息的密钥不被接受：{}"),
    ("the identity's time is refused: {}", "身份信息的时间不被接受：{}"),
    ("the identity's signature is refused: {}", "身份信息的签名不被接受：{}"),
    ("the key override is malformed", "密钥收回令格式有误"),
    ("the key override's parts do not belong together", "密钥收回令的各部分不一致"),
    ("the key override is not ordered by the shop's recovery key", "密钥收回令不是由该店的恢复密钥签署"),
    ("the key override was ordered for another place", "密钥收回令是为另一处签署的"),
    ("is not a key override", "不是密钥收回令"),
    ("is another than the override's", "与密钥收回令中的不同"),
    ("the continuation is malformed", "续店声明格式有误"),
    ("the continuation's key is refused: {}", "续店声明的密钥不被接受：{}"),
    ("a shop does not continue itself", "一家店不能承续自己"),
    (
        "the continuation is not signed by the recovery key that it names",
        "续店声明不是由其所称的恢复密钥签署",
    ),
    ("the continuation is of another shop", "续店声明属于另一家店"),
    ("the continuation is not ordered by the old shop's recovery key", "续店声明不是由原店的恢复密钥签署"),
    ("is of alliance {}", "属于联盟 {}"),
    ("names a shop that came in after the one that is to continue it", "所称的店加入得比承续它的店还晚"),
    ("names another shop as the one that continues", "所称的承续店是另一家"),
    ("is said by the shop itself, when it asks to be let in", "由该店自己在申请加入时说明"),
    // Invitations, the charter, the alliance.
    ("is not an invitation link", "不是邀请链接"),
    ("is no channel's link", "不是渠道链接"),
    ("was not copied whole", "没有复制完整"),
    ("is too long", "过长"),
    ("is of another alliance", "属于另一个联盟"),
    ("has no address, or too many", "没有地址，或地址过多"),
    ("names a member with no address, or too many", "所列成员没有地址，或地址过多"),
    ("names too many members", "所列成员过多"),
    ("an address is host:port", "地址格式为 主机:端口"),
    ("the charter is malformed", "章程格式有误"),
    ("the charter is refused: {}", "章程不被接受：{}"),
    ("the charter's founder is refused: {}", "章程的发起店不被接受：{}"),
    ("a node takes part in at most {}", "一个节点最多参加 {} 个"),
    ("an alliance has at most {} shops", "一个联盟最多 {} 家店"),
    ("at most {} invitations of a shop are open at a time", "一家店最多同时有 {} 份有效邀请"),
    // Promotions and vouchers.
    ("is none of the modes", "不是已知的核销方式"),
    ("is for designated vouchers alone", "仅用于指定核销店的券"),
    ("is for vouchers that are used once, anywhere", "仅用于通用的单次券"),
    ("a shop is named twice", "同一家店列了两次"),
    ("is 0 for all", "全部为 0"),
    ("needs card_required", "须同时要求出示会员号（card_required）"),
    ("the hand-out ends before it starts", "发放结束早于开始"),
    ("the hand-out is over before it begins", "发放尚未开始便已结束"),
    ("the redemption ends before it starts", "核销结束早于开始"),
    ("the redeemer cannot hand out vouchers for itself", "核销店不能为自己发券"),
    ("the vouchers can cost {}", "这些券最多可花费 {}"),
    ("the shares add up to {}, not to {}", "出资份额合计 {}，应为 {}"),
    ("is given twice: as an amount and by terms", "填了两次：金额与条款各一次"),
    ("are about no bounty", "没有可适用的返佣"),
    ("is none of the periods", "不是已知的周期"),
    ("the steps do not ascend", "各档没有递增"),
    ("is no day of the week", "不是星期几"),
    ("does not redeem this promotion", "不核销该活动的券"),
    ("holds the voucher already", "已持有这张券"),
    ("a shop cannot send customers to itself", "不能为本店自己引客"),
    ("is the name of a channel with another target", "已是另一去向的渠道名"),
    ("is not an amount of the purchase", "不是本次消费中的金额"),
    ("come to more than the purchase", "合计超过本次消费"),
    ("is not less than the purchase", "不小于本次消费"),
    ("are more than {}", "多于 {} 个"),
    ("are 1 to {}", "应为 1 至 {} 个"),
    // Attribution.
    ("is none of the models", "不是已知的归因模型"),
    ("is none of the models that pay", "不是可用于结算的归因模型"),
    ("is none of the groups", "不是已知的分组"),
    ("is for the model decay alone", "仅用于 decay 模型"),
    ("is for the model markov alone", "仅用于 markov 模型"),
    ("there are more than {} conversions: take a shorter span", "转化多于 {} 次：请缩短时段"),
    ("the chain has {} states, more than {}: take a lower order", "链有 {} 个状态，多于 {}：请降低阶数"),
    // Settlement.
    ("it is not more than zero", "不大于零"),
    ("it is beyond 10^15 minor units", "超过 10^15 最小货币单位"),
    ("is more than is open: {}", "超过未结金额：{}"),
    ("is more than {}", "大于 {}"),
    ("is not after the last statement's, or not over", "不晚于上期对账单，或该期尚未结束"),
    (
        "the ally has signed for another end; sign with that, or have the ally sign anew",
        "对方签的是另一个截止时间；请按它签，或请对方重签",
    ),
    (
        "is below the limit for warnings: there would be none before hand-outs stop",
        "低于提醒上限：停发之前不会有提醒",
    ),
    (
        "is used up by what was drawn: withdraw the line to begin anew, or name a higher one",
        "已用完：请撤回后重新给出，或提高额度",
    ),
    ("more debts cancel than one run can hold", "可冲销的债务超过一次轧差的容量"),
    ("this shop has proposed too often", "本店提出的次数过多"),
    ("this statement was signed too often", "该对账单签署次数过多"),
    ("no such statement", "没有这份对账单"),
    ("is no side that is known", "不是已知的一方"),
    // Motions.
    ("names no shop", "未指明店"),
    ("is empty", "为空"),
    ("is not a motion", "不是动议"),
    ("is not in canonical form", "不是规范格式"),
    ("is not a first admission", "不是首次加入"),
    ("is not the message that its kind names", "内容与其类别不符"),
    ("is none of the states of a motion", "不是动议的状态"),
    ("is none of those that earn a strike", "不是可以处分的原因"),
    ("are not ascending, or name a shop twice", "没有按升序排列，或同一家店列了两次"),
    ("a guest is brought for its admission", "带来新店时只能投赞成票"),
    ("a shop has no voice in what is about itself", "对关于自己的动议没有表决权"),
    ("a renewal is decided before the season ends, and ends later", "续期须在本届结束前决定，且结束得更晚"),
    ("changes nothing", "没有任何改动"),
    ("is changed by renewals alone", "只能通过续期修改"),
    ("is the alliance that the shop leaves", "正是要退出的联盟"),
    ("the charter itself says how many votes admit and remove", "加入与除名的票数由章程自身规定"),
    ("was not voted for", "未经表决通过"),
    // Calls of partner apps.
    ("is not one of ours", "不是本节点给出的"),
    ("is not one of this node's", "不是本节点给出的"),
    ("has more than {} bytes", "超过 {} 字节"),
    ("has more than {} conditions", "条件多于 {} 个"),
    ("has more than {} paths, or one of more than {} bytes", "路径多于 {} 条，或有一条超过 {} 字节"),
    ("`{}` cannot be changed: {} can", "`{}` 不能修改，可以修改的有 {}"),
    ("`{}` is none of {}", "`{}` 不在 {} 之中"),
    ("a field is followed by = != < <= > or >=", "字段之后应为 = != < <= > 或 >="),
    ("a quoted value does not end", "引号没有结束"),
    ("a value is missing", "缺少值"),
    ("conditions are joined by AND alone", "条件之间只能用 AND 连接"),
    ("quote values that are not plain words", "不是单词的值要加引号"),
    ("must name 1 to {} scopes", "须列出 1 至 {} 个权限"),
    ("`{}` is not a scope: there are {}", "`{}` 不是权限，可用的有 {}"),
    ("must have 1 to {} printable characters", "须有 1 至 {} 个可打印字符"),
    ("must be 1 to {}", "须为 1 至 {}"),
    ("names more than {}", "多于 {} 个"),
    ("{} is no type of an event", "{} 不是事件类型"),
    ("{} is no dead letter", "{} 不是投递失败的消息"),
    ("has more than 2,048 characters", "超过 2,048 个字符"),
    ("is no address such as https://example.com/hutong", "不是形如 https://example.com/hutong 的地址"),
    ("names no host", "没有主机名"),
    ("must not hold a user name or password", "不能含用户名或密码"),
    ("must be https, except to this machine", "必须是 https（本机除外）"),
    ("must be https", "必须是 https"),
    ("does not come", "迟迟没有到来"),
    ("is another than the bundle's, {}", "与记录包的（{}）不同"),
    ("the first frame is Hello", "第一帧应为 Hello"),
    // Bundles and connections.
    ("the file is no bundle", "文件不是记录包"),
    ("the bundle is damaged at byte {}", "记录包在第 {} 字节处损坏"),
    ("the bundle holds what is no frame: {}", "记录包中有无法识别的内容：{}"),
    ("the bundle holds a frame that does not belong there", "记录包中有不该出现的内容"),
    ("the bundle goes on after its end", "记录包在结尾之后还有内容"),
    ("the message is empty, or of a newer protocol", "消息为空，或来自更新的协议"),
    ("the frame's {} has the wrong length", "帧的 {} 长度不对"),
    ("no answer in time", "没有及时答复"),
    ("the shop cannot be reached: {}", "连接不上：{}"),
    ("the shop did not answer in time", "对方没有及时答复"),
    ("the shop does not know us: our key is not on its list", "对方不认识本店：本店的密钥不在其名单中"),
    ("another key answers at this address", "该地址上应答的是另一把密钥"),
    ("what answers is not a shop's peer port: {}", "应答的不是店的节点端口：{}"),
    ("this side closed the line to the shop", "本店已关闭与对方的连接"),
    // How far this shop's log goes.
    ("STARTED", "刚启动"),
    ("TAIL_TORN", "日志末端不完整"),
    ("TAIL_DAMAGED", "日志末端损坏"),
    ("MOVED", "数据不是上次签发时的那一份"),
    ("SHARED", "另有一份副本在运行"),
];

/// The Chinese text, of the longest template that fits; as it is, where none does. What a caller wrote may be in it, and is
/// bounded by nobody: so a cause has no cause of its own.
pub(super) fn chinese(why: &str) -> String {
    fill(why, |cause| fill(cause, ToString::to_string))
}

fn fill(why: &str, cause: impl Fn(&str) -> String) -> String {
    let fitting =
        TEXTS.iter().filter_map(|(english, chinese)| Some((*english, *chinese, values(english, why)?)));
    let Some((english, chinese, values)) = fitting.max_by_key(|(english, ..)| english.len()) else {
        return why.to_string();
    };
    let mut pieces = chinese.split("{}");
    let mut text = String::from(pieces.next().unwrap_or_default());
    for (value, piece) in values.into_iter().zip(pieces) {
        if english.ends_with(": {}") {
            text.push_str(&cause(value));
        } else {
            text.push_str(value);
        }
        text.push_str(piece);
    }
    text
}

/// What stands for each `{}` of a template in a text; none: the text does not follow it.
fn values<'a>(template: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut pieces = template.split("{}");
    let mut rest = text.strip_prefix(pieces.next()?)?;
    let mut values = Vec::new();
    let mut pieces = pieces.peekable();
    while let Some(piece) = pieces.next() {
        let end = match pieces.peek() {
            None => rest.strip_suffix(piece)?.len(),
            Some(_) => rest.find(piece)?,
        };
        if end == 0 {
            return None;
        }
        values.push(&rest[..end]);
        rest = &rest[end + piece.len()..];
    }
    rest.is_empty().then_some(values)
}

#[cfg(test)]
mod tests {
    use alloc::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn values_are_carried_over() {
        assert_eq!(chinese("has 3 characters, not 1 to 2"), "有 3 个字符，应为 1 至 2 个");
        assert_eq!(
            chinese("the identity's key is refused: the key is weak"),
            "身份信息的密钥不被接受：密钥过弱"
        );
        assert_eq!(chinese("0 is not within 1 to 9"), "0 不在 1 至 9 之间");
        assert_eq!(
            chinese("`is missing` is not a scope: there are a, b"),
            "`is missing` 不是权限，可用的有 a, b"
        );
        let deep = chinese(&"the charter is refused: ".repeat(100_000));
        assert!(deep.starts_with("章程不被接受：章程不被接受：the charter is refused: the"));
        assert_eq!(chinese("is missing a leg"), "is missing a leg");
        assert_eq!(chinese(" is not within 1 to 9"), " is not within 1 to 9");
        assert_eq!(chinese(""), "");
    }

    #[test]
    fn every_text_is_found_under_its_own_english() {
        let mut seen = BTreeSet::new();
        for (english, chinese) in TEXTS {
            assert!(seen.insert(english), "{english} stands twice");
            assert_eq!(english.matches("{}").count(), chinese.matches("{}").count(), "{english}");
            assert_eq!(super::chinese(english), *chinese, "another text goes before it");
        }
    }

    /// A literal that starts at a place of a source file, with `{}` for whatever it shows.
    fn template(source: &str) -> Option<String> {
        let source =
            source.trim_start().trim_start_matches("alloc::").trim_start_matches("format!(").trim_start();
        let literal = source.strip_prefix('"')?;
        let mut template = String::new();
        let mut shown = 0_u32;
        let mut escaped = false;
        for character in literal.chars() {
            match character {
                '\\' if !escaped => escaped = true,
                '"' if !escaped => return Some(template),
                '{' => shown += 1,
                '}' => {
                    shown = shown.checked_sub(1)?;
                    template.push_str("{}");
                }
                other => {
                    escaped = false;
                    if shown == 0 {
                        template.push(other);
                    }
                }
            }
        }
        None
    }

    fn sources(folder: &std::path::Path, found: &mut BTreeMap<std::path::PathBuf, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !["tests", "generated", "target", "benches"].contains(&name.as_str()) {
                sources(&path, found);
            } else if name.ends_with(".rs") && !name.contains("tests") && name != "why.rs" {
                found.insert(path.clone(), std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn whatever_the_program_says_of_a_field_has_a_text_in_chinese() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut found = BTreeMap::new();
        sources(crates, &mut found);
        let (mut missing, mut count) = (Vec::new(), 0);
        for (path, source) in &found {
            // What follows the name of the field, or is passed to a closure that knows it.
            let fields =
                source.split("Refusal::field(").skip(1).filter_map(|call| Some(call.split_once(',')?.1));
            let reasons = source.split("let why = ").skip(1);
            for why in fields.chain(reasons).filter_map(template) {
                count += 1;
                if chinese(&why) == why {
                    missing.push(alloc::format!("{}: {why}", path.display()));
                }
            }
        }
        assert!(count > 120, "{count} were found");
        assert_eq!(missing, Vec::<String>::new());
    }
}
