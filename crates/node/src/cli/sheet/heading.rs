//! What columns are called. Programs read the names that JSON and Parquet have, the same in every language; people read these
//! headings, in tables, CSV and workbooks.

use hutong_client::Language;

/// A column's heading in a language; a name without one stays as it is.
pub(super) fn heading(name: &'static str, language: Language) -> &'static str {
    match language {
        Language::Zh => chinese(name).unwrap_or(name),
        Language::En => name,
    }
}

/// The Chinese heading of a column.
pub(super) fn chinese(name: &str) -> Option<&'static str> {
    Some(match name {
        "amount" => "金额",
        "balance" => "对方欠本店",
        "bounties" => "引流奖励",
        "bounties_caused" => "应付奖励",
        "bounties_earned" => "应得奖励",
        "channel" => "渠道",
        "conversions" => "成交",
        "currency" => "币种",
        "customers_given" => "送出客人",
        "customers_received" => "收到客人",
        "customers_sent" => "带去客人",
        "discounts" => "优惠额",
        "from_shop" => "付方",
        "from_shop_id" => "付方编号",
        "hour" => "时",
        "kind" => "类别",
        "newcomers" => "新客",
        "newcomers_7_days" => "满 7 天新客",
        "newcomers_30_days" => "满 30 天新客",
        "newcomers_90_days" => "满 90 天新客",
        "promotion" => "活动",
        "promotion_id" => "活动编号",
        "purchase" => "本笔消费",
        "purchases" => "消费额",
        "redemption_id" => "核销编号",
        "redemptions" => "核销",
        "returned_7_days" => "7 天内回头",
        "returned_30_days" => "30 天内回头",
        "returned_90_days" => "90 天内回头",
        "sales" => "销售笔数",
        "sales_amount" => "销售额",
        "share_basis_points" => "分摊（万分之）",
        "shop" => "门店",
        "shop_id" => "门店编号",
        "state_digest" => "状态摘要",
        "time" => "时间",
        "to_shop" => "至门店",
        "to_shop_id" => "至门店编号",
        "touches" => "触点",
        "touches_given" => "送出触点",
        "touches_received" => "收到触点",
        "value_given" => "送出客人消费额",
        "value_minor" => "成交额（最小货币单位）",
        "value_received" => "收到客人消费额",
        "vouchers" => "发券",
        "vouchers_given" => "发出对方的券",
        "vouchers_received" => "对方发出本店的券",
        "week" => "周",
        "weekday" => "星期",
        _ => return None,
    })
}
