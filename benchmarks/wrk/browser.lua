-- Heads as a browser sends them: fifteen fields, about 900 octets, with cookies that differ.
local common = dofile(os.getenv("BENCH_WRK") .. "/common.lua")

local fixed = table.concat({
    "Host: bench.test",
    "Connection: keep-alive",
    'sec-ch-ua: "Chromium";v="126", "Not.A/Brand";v="24"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "DNT: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
}, "\r\n") .. "\r\nCookie: theme=dark; session="

function request()
    return "GET " .. common.path("/shop") .. " HTTP/1.1\r\n" .. fixed .. common.hex32() .. "; seen=" .. common.hex32()
        .. "\r\nReferer: http://bench.test/shop\r\n\r\n"
end

done = common.done
