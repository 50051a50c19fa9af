"""Structure names of AAPM TG-263 (Mayo et al. 2018) that photon planning meets, and their aliases.

One line per structure: ``Name | alias; alias``. Aliases are read like the names found in plans:
case, separators and word order do not matter, and neither does the side. A name in the first
table stands for the pair ``Name_L`` and ``Name_R``; ``Name = Both`` also for the structure of
both sides. The list is a working selection from the published nomenclature, not all of it.
"""

from __future__ import annotations

#: Structures that exist on both sides.
LATERAL = """
A_Carotid | carotid artery; carotid
A_Femoral | femoral artery
A_Iliac | iliac artery
A_Subclavian | subclavian artery
Acetabulum = Acetabulums
Arytenoid | arytenoid cartilage
Atrium | atrium of the heart
Bone_Ilium | ilium; iliac bone
Bone_Ischium | ischium
Bone_Mastoid | mastoid
Bone_Pelvic | hemipelvis
Bone_Temporal | temporal bone
BrachialPlex = BrachialPlexs | brachial plexus; plexus brachialis; brachial plex; brach plexus
Breast = Breasts | mamma
Bronchus | bronchus main; main bronchus; mainstem bronchus
Chestwall | chest wall; thoracic wall
Clavicle
Cochlea | cochleae
Cornea
Ear_External = Ear_Externals | outer ear
Ear_Internal = Ear_Internals | internal auditory canal
Ear_Middle | middle ear
Elbow
Eye = Eyes | eyeball; globe; eye globe; bulbus oculi
Femur = Femurs | whole femur; thigh bone
Femur_Head = Femur_Heads | femoral head; femoralhead; fem head; caput femoris; head of femur; fh
Femur_Neck | femoral neck; fem neck
Femur_Shaft | femoral shaft
Fibula
Glnd_Adrenal | adrenal; adrenal gland; suprarenal gland
Glnd_Lacrimal | lacrimal gland; lacrimal; lacrimalis
Glnd_Subling = Glnd_Sublings | sublingual gland; sublingual
Glnd_Submand = Glnd_Submands | submand; submandibular; submandibular gland; \
smg; submandibula; sub mandibular
Hemisphere = Hemispheres | cerebral hemisphere
Hippocampus = Hippocampi | hippo
Humerus | humeral bone
Humerus_Head | humeral head
Joint_Elbow | elbow joint
Joint_Glenohum | glenohumeral joint; shoulder joint
Joint_TM | tmj; temporomandibular joint; tm joint; temporo mandibular joint
Kidney = Kidneys
Kidney_Cortex | renal cortex
Kidney_Hilum = Kidney_Hilums | renal hilum
Kidney_Pelvis | renal pelvis
Knee
LN_Ax | axillary nodes; axillary lymph nodes
LN_IMN = LN_IMNs | internal mammary nodes; imn
LN_Iliac | iliac nodes
LN_Iliac_Ext | external iliac nodes
LN_Iliac_Int | internal iliac nodes
LN_Inguinofem | inguinal nodes
LN_Obturator | obturator nodes
LN_Pelvic = LN_Pelvics | pelvic nodes; pelvic lymph nodes
Lens = Lenses | eye lens; lens of eye; lens oculi
Lobe_Frontal | frontal lobe
Lobe_Occipital | occipital lobe
Lobe_Parietal | parietal lobe
Lobe_Temporal | temporal lobe; temp lobe; tempolobe; lobus temporalis
Lung = Lungs | pulmo; whole lung
Malleus
Maxilla
Musc_Masseter | masseter; masseter muscle
Musc_Pterygoid | pterygoid muscle
Musc_Sclmast | sternocleidomastoid; scm muscle
Musc_Temporal | temporal muscle
OpticNrv | optic nerve; opticnerve; nervus opticus; opt nerve; optic n
Orbit | orbita
Ovary = Ovaries | ovarium
Parotid = Parotids | parotis; parotid gland; glandula parotis; glnd parotid; parotidea
Proc_Condyloid | condyloid process; mandibular condyle
Proc_Coronoid | coronoid process
Radius
Retina = Retinas
Scapula | shoulder blade
Sinus_Maxilry | maxillary sinus
Stapes
Testis = Testes | testicle
Tibia
Ulna
Ureter = Ureters
V_Iliac | iliac vein
V_Jugular_Int | internal jugular vein
Ventricle | ventricle of the heart; heart ventricle
VocalCord = VocalCords | vocal cord; vocal fold
"""

#: Structures without a side.
MEDIAN = """
A_Aorta | aorta
A_LAD | lad; left anterior descending artery; left anterior descending
A_Pulmonary | pulmonary artery
Anus
Appendix
Bag_Bowel | bowel bag; bowelbag; peritoneal cavity bowel bag; bagbowel
Bag_Ostomy | ostomy bag
BileDuct_Common | common bile duct
Bladder | urinary bladder; vesica; vesica urinaria
Bladder_Wall | wall of bladder
Bone
BoneMarrow | bone marrow
Bone_Hyoid | hyoid; hyoid bone
Bone_Mandible | mandible; mandibula; lower jaw; mandible bone
Bone_Sternum | sternum
Bowel
Bowel_Large | large bowel; large intestine; largebowel; lg bowel
Bowel_Small | small bowel; small intestine; smallbowel; sm bowel; smbowel; intestine small
Brain | whole brain; encephalon
Brainstem | brain stem; truncus cerebri; truncus encephali; brainst
Brainstem_Core | brainstem core
Brainstem_Surf | brainstem surface
Bronchus_Main
Canal_Anal | anal canal
Carina
Cartlg_Thyroid | thyroid cartilage
CaudaEquina | cauda equina; cauda
Cavernosum | corpus cavernosum
Cavity_Nasal | nasal cavity
Cavity_Oral | oral cavity; oralcavity; mouth; cavum oris; oral cav
Cecum | caecum
Cerebellum
Cerebrum
Cervix | cervix uteri
Colon
Colon_Ascending | ascending colon
Colon_Decending | descending colon
Colon_Sigmoid | sigmoid; sigmoid colon; colon sigmoideum; sigma
Colon_Transverse | transverse colon
Cricoid | cricoid cartilage
Cricopharyngeus | cricopharyngeal inlet; cricopharyngeus muscle
Diaphragm
Duodenum
Esophagus | oesophagus; esoph; oesoph; eso
Esophagus_I | inferior esophagus
Esophagus_M | middle esophagus
Esophagus_S | superior esophagus; cervical esophagus
Fossa_Posterior | posterior fossa
Gallbladder | gall bladder
Genitals | external genitalia; genitalia
Glnd_Thymus | thymus; thymus gland
Glnd_Thyroid | thyroid; thyroid gland; thyreoid
Glottis | glottic area; glottic larynx
GreatVes | great vessels; greatvessels
Hardpalate | hard palate
Heart | whole heart
Hypothalmus | hypothalamus
Ileum
Jejunum
Jejunum_Ileum
LN_Mediastinals | mediastinal nodes
LN_Paraaortic | paraaortic nodes; para aortic nodes
LN_Portahepatis | porta hepatis nodes
Larynx | laryngx; larynx whole
Larynx_SG | supraglottic larynx; supraglottis; larynx supraglottic
Lips | lip; oral lips
Liver | hepar
Lung_LLL
Lung_LUL
Lung_RLL
Lung_RML
Lung_RUL
Mediastinum
Musc_Constrict | pharyngeal constrictor; pharyngeal constrictors; constrictor; constrictors; pcm; \
pharynx constrictor; constrictor muscle; pharyngeal constrictor muscle; pharynx constrictors
Musc_Constrict_I | inferior constrictor; inferior pharyngeal constrictor; pcm i
Musc_Constrict_M | middle constrictor; middle pharyngeal constrictor; pcm m
Musc_Constrict_S | superior constrictor; superior pharyngeal constrictor; pcm s
Nape
Nasopharynx
Nose
OpticChiasm | chiasm; chiasma; optic chiasm; optic chiasma; chiasma opticum
Oropharynx
Pacemaker | pace maker
Palate_Soft | soft palate
Pancreas
Pancreas_Head | head of pancreas; pancreatic head
Pancreas_Tail | pancreatic tail
Parametrium
PenileBulb | penile bulb; bulbus penis; bulb of penis; penis bulb; pen bulb
Penis
Pericardium
Perineum
Peritoneum
Pharynx
Pineal | pineal gland
Pituitary | hypophysis; pituitary gland
Pons
Prostate | prostata
ProstateBed | prostate bed; prostatic fossa
PubicSymphys | pubic symphysis; symphysis pubis; symphysis
Rib | single rib
Ribs
Rectal_Wall | rectum wall; wall of rectum
Rectum
SacralPlex | sacral plexus
Sacrum | sacral bone
Scalp
Scrotum
SeminalVes | seminal vesicles; seminal vesicle; seminalvesicles; \
sem vesicles; sem ves; vesiculae seminales
SeminalVes_Dist | distal seminal vesicles
SeminalVes_Prox | proximal seminal vesicles
Skin
Skull | cranium
Spc_Bowel | bowel space
Sphincter_Anal | anal sphincter
SpinalCanal
SpinalCord | cord; spinal cord; medulla spinalis; myelon; spine cord; spinal cor
SpinalCord_Cerv | cervical cord; cervical spinal cord
SpinalCord_Thor | thoracic cord; thoracic spinal cord
Spleen
Stomach
SurgicalBed | surgical bed
Sys_Ventricular | cerebral ventricles; ventricular system
ThecalSac | thecal sac
Thoracic_Duct | thoracic duct
Tongue
Tongue_All | whole tongue
Tongue_Base | base of tongue; tongue base; bot
Tongue_Oral | oral tongue
Tonsil
Trachea | windpipe
TumorBed | tumor bed; tumour bed
Urethra
Urethra_Prostatc | prostatic urethra
Uterus
V_Portal | portal vein
V_Venacava | vena cava
V_Venacava_I | inferior vena cava; ivc
V_Venacava_S | superior vena cava; svc
Vagina
Vagina_Surf | vaginal surface
VaginalCuff | vaginal cuff
Valve_Aortic | aortic valve
Valve_Mitral | mitral valve
Valve_Pulmonic | pulmonary valve
Valve_Tricuspid | tricuspid valve
Vulva
"""

#: The patient's outline.
EXTERNAL = """
External | body; body outline; patient; patient outline; outline; external contour; body contour; \
external body; skin contour; corpus; outer contour; patient contour
"""

#: Things that are contoured but are neither target nor organ.
NOT_ANATOMY = """
Artifact | artefact; artifacts; artefacts; dental artifact; metal artifact
Bolus
CouchInterior | couch interior; interior couch
CouchSurface | couch surface; surface couch; couch; table; treatment couch; table top; tabletop
E-PTV | body ptv; external ptv
Markers | marker; fiducial; fiducials; gold seeds; seeds
Prosthesis | hip prosthesis; implant
"""

#: Names that people use for more than one thing: a person has to say which.
AMBIGUOUS = {
    "bowel loops": ("Bowel_Small", "Bowel", "Bag_Bowel"),
    "bowels": ("Bowel", "Bag_Bowel", "Bowel_Small", "Bowel_Large"),
    "bs": ("Brainstem", "Bowel_Small"),
    "bulb": ("PenileBulb",),
    "canal": ("SpinalCanal", "Canal_Anal"),
    "cc": ("SpinalCord",),
    "hip": ("Femur_Head_L", "Femur_Head_R"),
    "hips": ("Femur_Head_L", "Femur_Head_R", "Femur_Heads"),
    "inner ear": ("Ear_Internal_L", "Ear_Internal_R", "Cochlea_L", "Cochlea_R"),
    "intestine": ("Bowel", "Bowel_Small", "Bowel_Large", "Bag_Bowel"),
    "jaw": ("Bone_Mandible",),
    "medulla": ("SpinalCord", "Brainstem"),
    "oc": ("Cavity_Oral", "OpticChiasm"),
    "on": ("OpticNrv_L", "OpticNrv_R"),
    "sc": ("SpinalCord",),
    "scord": ("SpinalCord",),
    "skin": ("External", "Skin"),
    "spinal canal": ("SpinalCanal", "SpinalCord"),
    "spine": ("SpinalCord", "SpinalCanal"),
    "submandibulars": ("Glnd_Submands",),
    "sv": ("SeminalVes",),
    "vertebral canal": ("SpinalCanal", "SpinalCord"),
    "vessels": ("GreatVes",),
}
