-- A GET with a bearer token. BENCH_TOKENS: the file of tokens that take turns, at random.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")
local random = math.random
local tokens

function init()
    tokens = common.tokens()
end

function request()
    return common.authorized(tokens[random(1, #tokens)])
end

done = common.done
