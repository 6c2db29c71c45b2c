"""The vocabulary of the staffing data: trades with their synonyms and certificates, places, employers, traits.

Everything here is made up or common knowledge. Only the staffing generator and its demands read it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One kind of work, and how people who do it describe themselves."""

    role: str
    """The canonical name, as the role column has it."""
    synonyms: tuple[str, ...]
    """What the same work is called in résumés and in requests."""
    specialities: tuple[str, ...]
    """Phrases that only this work produces."""
    skills: tuple[str, ...]
    """Entries of the skills column."""
    certificates: tuple[tuple[str, float], ...]
    """Certificates with the share of workers who hold them."""
    rate: tuple[float, float]
    """Hourly pay in dollars at the start and after twenty years."""
    weight: float
    """How common the work is, relative to the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A city where workers live."""

    city: str
    state: str
    """Two letters."""
    state_name: str
    zip_base: int
    """The lowest ZIP code; several keep a leading zero."""
    area_code: int
    weight: float
    """How many workers live there, relative to the others."""


def _trade(
    role: str,
    weight: float,
    rate: tuple[float, float],
    synonyms: str,
    specialities: str,
    skills: str,
    certificates: tuple[tuple[str, float], ...],
) -> Trade:
    return Trade(
        role=role,
        weight=weight,
        rate=rate,
        synonyms=tuple(synonyms.split(" | ")),
        specialities=tuple(specialities.split(" | ")),
        skills=tuple(skills.split(" | ")),
        certificates=certificates,
    )


TRADES: tuple[Trade, ...] = (
    _trade(
        "Warehouse Associate",
        16,
        (15.0, 24.0),
        "order picker | stock handler | fulfillment associate | material handler",
        "picking by voice and by scanner | cycle counts with under one percent error | loading trailers by hand and "
        "by pallet jack | cold storage at minus ten degrees | returns processing in peak season",
        "RF scanner | pallet jack | cycle counting | packing | inventory",
        (("OSHA-10", 0.35), ("Forklift License", 0.20), ("First Aid", 0.15)),
    ),
    _trade(
        "Forklift Operator",
        11,
        (17.0, 28.0),
        "lift truck driver | fork truck operator | reach truck driver | powered industrial truck operator",
        "narrow aisle reach trucks | counterbalance trucks up to five tons | loading and unloading containers at the "
        "dock | stacking racks of nine meters | clamp trucks for paper rolls",
        "reach truck | counterbalance | cherry picker | dock work | RF scanner",
        (("Forklift License", 0.85), ("OSHA-30", 0.35), ("OSHA-10", 0.40), ("Hazmat", 0.12)),
    ),
    _trade(
        "Truck Driver",
        9,
        (20.0, 36.0),
        "CDL driver | class A driver | long-haul driver | delivery driver",
        "night runs between hubs | tanker and flatbed loads | city deliveries with liftgate | two million miles "
        "without an accident | electronic logs and pre-trip inspections",
        "flatbed | tanker | route planning | electronic logs | liftgate",
        (("CDL-A", 0.70), ("Hazmat", 0.30), ("TWIC", 0.20), ("First Aid", 0.10)),
    ),
    _trade(
        "Welder",
        7,
        (20.0, 40.0),
        "TIG fabricator | metal fabricator | structural welder | pipe welder",
        "TIG on thin stainless steel | overhead stick welds on structural beams | reading weld symbols | pressure pipe "
        "to code | aluminium boat hulls",
        "TIG | MIG | stick | blueprint reading | grinding",
        (("AWS D1.1", 0.50), ("OSHA-10", 0.35), ("OSHA-30", 0.20), ("Confined Space", 0.20)),
    ),
    _trade(
        "Machinist",
        6,
        (21.0, 39.0),
        "CNC operator | CNC programmer | lathe operator | tool room machinist",
        "five-axis mills | holding tolerances of a hundredth of a millimeter | Fanuc and Haas controls | "
        "fixture design | first article inspection",
        "CNC mill | CNC lathe | G-code | calipers | CAD/CAM",
        (("NIMS Level I", 0.40), ("OSHA-10", 0.30), ("Six Sigma Green Belt", 0.10)),
    ),
    _trade(
        "Electrician",
        6,
        (23.0, 46.0),
        "wireman | electrical technician | journeyman electrician | maintenance electrician",
        "conduit bending and wire pulls | motor controls and drives | panel upgrades in occupied buildings | solar "
        "arrays on flat roofs | fault finding in the dark",
        "conduit | motor controls | PLC | panel wiring | multimeter",
        (("Journeyman License", 0.55), ("OSHA-30", 0.30), ("OSHA-10", 0.35), ("NFPA 70E", 0.25)),
    ),
    _trade(
        "Nursing Assistant",
        7,
        (16.0, 26.0),
        "patient care aide | caregiver | home health aide | nurse aide",
        "memory care units | lifting and turning patients safely | charting vital signs | end-of-life comfort | "
        "rehabilitation after hip surgery",
        "vital signs | patient transfer | charting | dementia care | bathing",
        (("CNA License", 0.80), ("CPR", 0.65), ("First Aid", 0.30)),
    ),
    _trade(
        "Line Cook",
        7,
        (15.0, 25.0),
        "grill cook | kitchen cook | sauté cook | prep cook",
        "two hundred covers on a Saturday | breakfast for a hotel of four hundred rooms | allergy-safe plating | "
        "scratch sauces and stocks | wood-fired pizza",
        "grill | sauté | prep | plating | food safety",
        (("ServSafe", 0.60), ("Food Handler Card", 0.50), ("First Aid", 0.08)),
    ),
    _trade(
        "Carpenter",
        5,
        (20.0, 38.0),
        "framer | finish carpenter | cabinet maker | formwork carpenter",
        "hanging doors in old houses | concrete forms for bridges | built-in cabinets | "
        "timber frames raised by crane | stairs that do not creak",
        "framing | finish work | formwork | drywall | blueprint reading",
        (("OSHA-10", 0.45), ("OSHA-30", 0.20), ("Scaffold Safety", 0.25)),
    ),
    _trade(
        "Plumber",
        4,
        (22.0, 44.0),
        "pipefitter | steamfitter | service plumber | drain technician",
        "copper and PEX repiping | backflow tests | boiler rooms | sewer cameras | hospital medical gas",
        "soldering | PEX | drain cleaning | backflow | boilers",
        (("Journeyman License", 0.50), ("Backflow Tester", 0.25), ("OSHA-10", 0.30)),
    ),
    _trade(
        "HVAC Technician",
        4,
        (21.0, 41.0),
        "refrigeration mechanic | heating and cooling technician | air conditioning installer | chiller mechanic",
        "rooftop units in July | supermarket refrigeration racks | heat pump retrofits | "
        "chillers of two hundred tons | balancing air flow in clean rooms",
        "refrigerant recovery | brazing | ductwork | controls | heat pumps",
        (("EPA 608", 0.70), ("OSHA-10", 0.30), ("NATE", 0.25)),
    ),
    _trade(
        "Security Guard",
        5,
        (15.0, 25.0),
        "security officer | night watchman | patrol officer | access control guard",
        "gate control at a chemical plant | crowd control at concerts | camera rooms with sixty screens | foot patrol "
        "through the night | de-escalation without force",
        "patrol | CCTV | access control | report writing | de-escalation",
        (("Guard Card", 0.75), ("CPR", 0.35), ("First Aid", 0.30)),
    ),
    _trade(
        "Janitor",
        5,
        (14.0, 21.0),
        "custodian | building cleaner | housekeeper | sanitation worker",
        "terminal cleaning in operating rooms | stripping and waxing floors | schools during the summer | high windows "
        "from a lift | food plants to audit standard",
        "floor care | sanitizing | waste handling | window cleaning | restocking",
        (("Bloodborne Pathogens", 0.30), ("OSHA-10", 0.20)),
    ),
    _trade(
        "Quality Inspector",
        4,
        (18.0, 33.0),
        "QA inspector | quality control technician | dimensional inspector | test technician",
        "coordinate measuring machines | incoming inspection of castings | audits for aerospace customers | root cause "
        "reports | gauge studies",
        "CMM | calipers | SPC | ISO 9001 | microscope",
        (("Six Sigma Green Belt", 0.35), ("CQI", 0.40), ("OSHA-10", 0.15)),
    ),
    _trade(
        "Packaging Operator",
        6,
        (15.0, 24.0),
        "packing line worker | bottling line operator | machine tender | production line operator",
        "bottling lines at thirty thousand an hour | blister packs under GMP | quick changeovers | "
        "clearing jams without stopping the line | labels checked against batch records",
        "line changeover | GMP | labeling | palletizing | SOPs",
        (("GMP", 0.50), ("OSHA-10", 0.25), ("Food Handler Card", 0.20)),
    ),
    _trade(
        "Receptionist",
        4,
        (15.0, 25.0),
        "front desk clerk | office assistant | switchboard operator | appointment scheduler",
        "busy medical practices | three languages at a hotel desk | calendars of twelve partners | "
        "calm voices on angry phone calls | visitor badges in a data center",
        "scheduling | multi-line phone | Spanish | spreadsheets | filing",
        (("Notary", 0.20), ("CPR", 0.12), ("HIPAA", 0.40)),
    ),
)


def _place(city: str, state: str, state_name: str, zip_base: int, area_code: int, weight: float) -> Place:
    return Place(city=city, state=state, state_name=state_name, zip_base=zip_base, area_code=area_code, weight=weight)


PLACES: tuple[Place, ...] = (
    _place("Chicago", "IL", "Illinois", 60601, 312, 13),
    _place("Detroit", "MI", "Michigan", 48201, 313, 10),
    _place("Houston", "TX", "Texas", 77002, 713, 10),
    _place("Boston", "MA", "Massachusetts", 2108, 617, 7),
    _place("Newark", "NJ", "New Jersey", 7102, 973, 7),
    _place("Columbus", "OH", "Ohio", 43085, 614, 7),
    _place("Indianapolis", "IN", "Indiana", 46201, 317, 7),
    _place("Atlanta", "GA", "Georgia", 30303, 404, 7),
    _place("Memphis", "TN", "Tennessee", 38103, 901, 6),
    _place("Phoenix", "AZ", "Arizona", 85003, 602, 6),
    _place("Louisville", "KY", "Kentucky", 40202, 502, 5),
    _place("Hartford", "CT", "Connecticut", 6103, 860, 4),
    _place("Providence", "RI", "Rhode Island", 2903, 401, 4),
    _place("Toledo", "OH", "Ohio", 43604, 419, 4),
    _place("Grand Rapids", "MI", "Michigan", 49503, 616, 4),
    _place("San Juan", "PR", "Puerto Rico", 901, 787, 3),
)

_FIRST_NAMES = """
Ada Amir Bruno Carla Chen Dana Dmitri Elena Emeka Farid Fatima Grace Hana Hugo Inez Ivan Jamal Joan Keiko Kofi Lars
Leila Luz Marcus Maya Miguel Nadia Nils Nora Olga Omar Pedro Priya Quinn Rosa Ruth Sam Sofia Tariq Teresa Tomás Uma
Victor Wanda Xavier Yara Yusuf Zoë
"""
_LAST_NAMES = """
Abbott Adler Baker Bauer Brooks Castillo Chavez Costa Diaz Dubois Ekström Ellis Fischer Flores García Grant Haddad
Hayes Ibarra Ivanov Jensen Johnson Kaplan Kowalski Lindqvist Lopez Mbeki Moreau Nguyen Novak O'Brien Okafor Park Patel
Quigley Ramirez Reed Sato Schmidt Silva Tanaka Torres Ueda Vargas Walsh Wójcik Young Zimmer
"""
FIRST_NAMES: tuple[str, ...] = tuple(_FIRST_NAMES.split())
LAST_NAMES: tuple[str, ...] = tuple(_LAST_NAMES.split())
EMPLOYERS: tuple[str, ...] = (
    "Harbor Logistics",
    "Northside Hospital",
    "Great Lakes Foods",
    "Beacon Manufacturing",
    "Summit Builders",
    "Union Depot",
    "Riverside Hotel",
    "Prairie Steel",
    "Metro Transit",
    "Cedar Point Packaging",
    "Atlas Aerospace",
    "Lakeshore School District",
)
TRAITS: tuple[str, ...] = (
    "Early every day and leaves the station cleaner than it was.",
    "Asks before guessing, and writes things down.",
    "Has own transport and will travel up to forty miles.",
    "Trained four newcomers; two of them lead their own crew now.",
    "Comfortable with short notice and changing crews.",
    "Bilingual, English and Spanish.",
    "Not one incident report in the last three years.",
    "Looking for steady work close to home.",
    "Would rather finish the job than watch the clock.",
    "References from the last two supervisors are on file.",
)
SHIFTS: tuple[tuple[str, float], ...] = (("day", 0.48), ("evening", 0.22), ("night", 0.18), ("weekend", 0.12))
