// SCIMMY in memory, as fast as its handlers can be: users in a map by id and another by userName, so that nothing is searched.
//
//   node server.mjs CERTIFICATE KEY TOKEN      prints its URL
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { randomUUID } from "node:crypto";
import express from "express";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";

const [certificate, key, token] = process.argv.slice(2);
const byId = new Map(), byName = new Map();

SCIMMY.Resources.declare(SCIMMY.Resources.User)
  .ingress((resource, data) => {
    const name = data.userName.toLowerCase(), known = byName.get(name);
    if (known && known.id !== resource.id) throw new SCIMMY.Types.Error(409, "uniqueness", "taken");
    const now = new Date();
    const kept = { ...data, id: resource.id ?? randomUUID(), meta: { created: byId.get(resource.id)?.meta.created ?? now, lastModified: now } };
    byId.set(kept.id, kept);
    byName.set(name, kept);
    return kept;
  })
  .egress((resource) => {
    if (resource.id) {
      const found = byId.get(resource.id);
      if (!found) throw new SCIMMY.Types.Error(404, null, "unknown");
      return found;
    }
    const expressions = [...(resource.filter ?? [])];
    const name = expressions.length === 1 && Object.values(expressions[0])[0];
    if (Array.isArray(name) && name[0] === "eq" && Object.keys(expressions[0])[0].toLowerCase() === "username") {
      const found = byName.get(String(name[1]).toLowerCase());
      return found ? [found] : [];
    }
    return resource.filter ? resource.filter.match([...byId.values()]) : [...byId.values()];
  })
  .degress((resource) => {
    const found = byId.get(resource.id);
    byName.delete(found?.userName.toLowerCase());
    byId.delete(resource.id);
  });

const app = express();
app.use("/scim/v2", new SCIMMYRouters({
  type: "bearer",
  handler: (request) => {
    if (request.header("Authorization") !== `Bearer ${token}`) throw new Error("not authorized");
    return "bench";
  },
}));
const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, app);
server.listen(0, "127.0.0.1", () => console.log(`https://127.0.0.1:${server.address().port}`));
process.stdin.on("close", () => process.exit()).resume();
