#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
# An MCP server without an SDK, for Protocol=mcp: JSON-RPC, a message a line. Its one tool counts the words of a text.
import json, sys

TOOL = {"name": "count", "description": "Counts the words of a text.",
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}

def answer(method, params):
    if method == "initialize":
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "words", "version": "1"}}
    if method == "tools/list":
        return {"tools": [TOOL]}
    if method == "tools/call" and params["name"] == "count":
        return {"content": [{"type": "text", "text": str(len(params["arguments"]["text"].split()))}]}

for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:  # else it is a notification
        try:
            result = answer(message["method"], message.get("params", {}))
            end = {"result": result} if result else {"error": {"code": -32601, "message": "there is no such thing here"}}
        except KeyError as e:
            end = {"error": {"code": -32602, "message": "%s is missing" % e}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **end}), flush=True)
