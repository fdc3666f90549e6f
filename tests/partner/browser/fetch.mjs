// The page's own code under Node, whose fetch speaks HTTP/1 as browsers do; it asks no other origin's leave.
import { visit } from "./hutong-web.mjs";

const told = await visit(process.env.HUTONG_GIVER, process.env.HUTONG_BOT_TOKEN);
console.log(JSON.stringify({ example: "fetch/bot", ...told }));
process.exit(0);
