-- Tokens that look right and are signed with another key.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")
local random = math.random
local tokens

function init()
    tokens = common.tokens()
    for index, token in ipairs(tokens) do
        -- Another signature of the same length: the claims' first characters, which are of the same alphabet.
        local header, claims = token:match("^([^.]+)%.([^.]+)%.")
        tokens[index] = header .. "." .. claims .. "." .. claims:sub(1, 42) .. "A"
    end
end

function request()
    return "GET " .. common.path("/api/users") .. " HTTP/1.1\r\nHost: bench.test\r\nAccept: application/json\r\n"
        .. "Authorization: Bearer " .. tokens[random(1, #tokens)] .. "\r\nX-Trace: " .. common.hex32() .. "\r\n\r\n"
end

done = common.done
