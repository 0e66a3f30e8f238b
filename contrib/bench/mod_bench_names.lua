-- Tells Prosody where the benchmark's domains are, as names.py tells others: its resolver asks those whom
-- /etc/resolv.conf names, on port 53, and both are the machine's.
module:set_global();

local addresses = module:get_option("bench_addresses");
local many, zone = module:get_option_string("bench_many"), module:get_option_string("bench_zone");
local port = module:get_option_number("bench_port");

local function address(name)
	return addresses[name] or name:sub(-#zone) == zone and many or nil;
end

local resolver = {};

function resolver:lookup(handler, name, kind)
	local service = name:match("^_xmpp%-server%._tcp%.(.*)$");
	if kind == "SRV" and service and address(service) then
		return handler({ { srv = { priority = 0, weight = 0, port = port, target = service } } });
	elseif kind == "A" and not name:find("_", 1, true) and address(name) then
		return handler({ { a = address(name) } });
	end
	return handler({});
end

require "net.adns".resolver = function () return resolver; end;
