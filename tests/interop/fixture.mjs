// The MCP server of the conformance run: what the official suite asks of a server, for every
// scenario of the requirements of 2025-11-25.
//
//   fixture.mjs stdio            for a node to start
//   fixture.mjs streamableHttp   on port PORT of loopback, to be asked directly
//
// Written on the low-level server of the SDK: what is answered here is what is on the wire.
import { randomUUID } from "node:crypto";
import http from "node:http";

import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import * as schema from "@modelcontextprotocol/sdk/types.js";

const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

const text = (said) => ({ type: "text", text: said });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const resource = (uri, mimeType, said) => ({ type: "resource", resource: { uri, mimeType, text: said } });
const pause = () => new Promise((resolve) => setTimeout(resolve, 50));

const DEFAULTS = {
  name: { type: "string", default: "John Doe" },
  age: { type: "integer", default: 30 },
  score: { type: "number", default: 95.5 },
  status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
  verified: { type: "boolean", default: true },
};
const titled = (...titles) => titles.map((title, index) => ({ const: `value${index + 1}`, title }));
const OPTIONS = ["option1", "option2", "option3"];
const ENUMS = {
  untitledSingle: { type: "string", enum: OPTIONS },
  titledSingle: { type: "string", oneOf: titled("First Option", "Second Option", "Third Option") },
  legacyEnum: {
    type: "string",
    enum: ["opt1", "opt2", "opt3"],
    enumNames: ["Option One", "Option Two", "Option Three"],
  },
  untitledMulti: { type: "array", items: { type: "string", enum: OPTIONS } },
  titledMulti: {
    type: "array",
    items: { anyOf: titled("First Choice", "Second Choice", "Third Choice") },
  },
};
const USER = {
  username: { type: "string", description: "User's response" },
  email: { type: "string", description: "User's email address" },
};
const address = {
  $anchor: "addressDef",
  type: "object",
  properties: { street: { type: "string" }, city: { type: "string" } },
};
const VOCABULARY = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: { address },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" },
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

const elicited = (answer) =>
  text(`Elicitation completed: action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`);

// What each tool does; `ask` sends a request to the client within the call, `tell` a notification.
const TOOLS = {
  test_simple_text: () => [text("This is a simple text response for testing.")],
  test_image_content: () => [image],
  test_audio_content: () => [{ type: "audio", data: WAV, mimeType: "audio/wav" }],
  test_embedded_resource: () => [
    resource("test://embedded-resource", "text/plain", "This is an embedded resource content."),
  ],
  test_multiple_content_types: () => [
    text("Multiple content types test:"),
    image,
    resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
  ],
  test_tool_with_logging: async ({ tell }) => {
    const said = ["Tool execution started", "Tool processing data", "Tool execution completed"];
    for (const data of said) {
      await tell("notifications/message", { level: "info", data });
      await pause();
    }
    return [text("Three messages were logged")];
  },
  test_tool_with_progress: async ({ tell, token }) => {
    for (const progress of [0, 50, 100]) {
      if (token !== undefined) {
        await tell("notifications/progress", { progressToken: token, progress, total: 100 });
      }
      await pause();
    }
    return [text("Progress was told three times")];
  },
  test_error_handling: () => {
    throw new Error("This tool intentionally returns an error for testing");
  },
  test_sampling: async ({ ask, given }) => {
    const messages = [{ role: "user", content: text(given.prompt) }];
    const params = { messages, maxTokens: 100 };
    const answer = await ask("sampling/createMessage", params, schema.CreateMessageResultSchema);
    return [text(`LLM response: ${answer.content.text}`)];
  },
  test_elicitation: async ({ ask, given }) => {
    const answer = await elicit(ask, given.message, USER, ["username", "email"]);
    return [text(`User response: ${JSON.stringify(answer)}`)];
  },
  test_elicitation_sep1034_defaults: async ({ ask }) => [
    elicited(await elicit(ask, "Please confirm the defaults", DEFAULTS)),
  ],
  test_elicitation_sep1330_enums: async ({ ask }) => [
    elicited(await elicit(ask, "Please choose", ENUMS)),
  ],
  json_schema_2020_12_tool: () => [text("It takes what its schema says")],
};
const STRINGS = { test_sampling: "prompt", test_elicitation: "message" };

function elicit(ask, message, properties, required) {
  const requestedSchema = { type: "object", properties, ...(required ? { required } : {}) };
  return ask("elicitation/create", { message, requestedSchema }, schema.ElicitResultSchema);
}

function inputSchema(name) {
  if (name === "json_schema_2020_12_tool") return VOCABULARY;
  const argument = STRINGS[name];
  if (!argument) return { type: "object", properties: {} };
  return { type: "object", properties: { [argument]: { type: "string" } }, required: [argument] };
}

const user = (content) => ({ role: "user", content });
const PROMPTS = {
  test_simple_prompt: () => [user(text("This is a simple prompt for testing."))],
  test_prompt_with_arguments: ({ arg1, arg2 }) => [
    user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  ],
  test_prompt_with_embedded_resource: ({ resourceUri }) => [
    user(resource(resourceUri, "text/plain", "Embedded resource content for testing.")),
    user(text("Please process the embedded resource above.")),
  ],
  test_prompt_with_image: () => [user(image), user(text("Please analyze the image above."))],
};
const ARGUMENTS = {
  test_prompt_with_arguments: ["arg1", "arg2"],
  test_prompt_with_embedded_resource: ["resourceUri"],
};

const RESOURCES = {
  "test://static-text": {
    mimeType: "text/plain",
    text: "This is the content of the static text resource.",
  },
  "test://static-binary": { mimeType: "image/png", blob: PNG },
  "test://watched-resource": { mimeType: "text/plain", text: "Somebody may watch this." },
};

function read(uri) {
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  if (id) {
    const said = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
    return { uri, mimeType: "application/json", text: said };
  }
  if (!RESOURCES[uri]) throw new schema.McpError(-32002, "no such resource", { uri });
  return { uri, ...RESOURCES[uri] };
}

function fixture() {
  const capabilities = {
    tools: {},
    prompts: {},
    resources: { subscribe: true },
    logging: {},
    completions: {},
  };
  const server = new Server({ name: "fixture", version: "1" }, { capabilities });
  const on = (request, handler) => server.setRequestHandler(request, handler);
  const described = (name) => ({ name, description: `${name}, as the conformance suite has it` });
  on(schema.ListToolsRequestSchema, () => ({
    tools: Object.keys(TOOLS).map((name) => ({ ...described(name), inputSchema: inputSchema(name) })),
  }));
  on(schema.CallToolRequestSchema, async ({ params }, extra) => {
    const tool = TOOLS[params.name];
    if (!tool) throw new schema.McpError(-32602, `no tool ${params.name}`);
    try {
      const content = await tool({
        given: params.arguments ?? {},
        token: params._meta?.progressToken,
        tell: (method, about) => extra.sendNotification({ method, params: about }),
        ask: (method, about, result) => extra.sendRequest({ method, params: about }, result),
      });
      return { content };
    } catch (error) {
      return { isError: true, content: [text(error.message)] };
    }
  });
  on(schema.ListPromptsRequestSchema, () => ({
    prompts: Object.keys(PROMPTS).map((name) => ({
      ...described(name),
      arguments: (ARGUMENTS[name] ?? []).map((argument) => ({ name: argument, required: true })),
    })),
  }));
  on(schema.GetPromptRequestSchema, ({ params }) => {
    if (!PROMPTS[params.name]) throw new schema.McpError(-32602, `no prompt ${params.name}`);
    return { messages: PROMPTS[params.name](params.arguments ?? {}) };
  });
  on(schema.ListResourcesRequestSchema, () => ({
    resources: Object.entries(RESOURCES).map(([uri, { mimeType }]) => ({
      uri,
      mimeType,
      ...described(uri),
    })),
  }));
  on(schema.ListResourceTemplatesRequestSchema, () => ({
    resourceTemplates: [{ uriTemplate: "test://template/{id}/data", ...described("template") }],
  }));
  on(schema.ReadResourceRequestSchema, ({ params }) => ({ contents: [read(params.uri)] }));
  on(schema.SubscribeRequestSchema, () => ({}));
  on(schema.UnsubscribeRequestSchema, () => ({}));
  on(schema.SetLevelRequestSchema, () => ({}));
  on(schema.CompleteRequestSchema, () => ({ completion: { values: [], total: 0, hasMore: false } }));
  return server;
}

// One server for each session. The SDK's own check of `Host` and `Origin` is on.
function serve(port) {
  const sessions = new Map();
  const names = ["127.0.0.1", "localhost"];
  const allowedHosts = names.map((name) => `${name}:${port}`);
  const allowedOrigins = names.map((name) => `http://${name}:${port}`);
  const listener = http.createServer(async (request, response) => {
    const known = sessions.get(request.headers["mcp-session-id"]);
    if (known) return known.handleRequest(request, response);
    if (request.headers["mcp-session-id"]) return response.writeHead(404).end();
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      enableDnsRebindingProtection: true,
      allowedHosts,
      allowedOrigins,
      onsessioninitialized: (id) => sessions.set(id, transport),
      onsessionclosed: (id) => sessions.delete(id),
    });
    await fixture().connect(transport);
    return transport.handleRequest(request, response);
  });
  listener.listen(port, "127.0.0.1");
}

if (process.argv[2] === "stdio") await fixture().connect(new StdioServerTransport());
else serve(Number(process.env.PORT));
